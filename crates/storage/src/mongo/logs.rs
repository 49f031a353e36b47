//! The lines that handlers log: the first 1,000 of each job, each a document. The job knows how many there are.

use std::collections::HashMap;

use async_trait::async_trait;
use gristmill_common::{Timestamp, http::LogLine, job::JobKey};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    batcher::Work,
    collections::{JOBS, LOGS},
    document::{Cell, job_id, time},
    fault::Fault,
    link::Link,
    server::{Find, Sees, Server, among, id},
};

/// How many lines a job keeps.
const MOST: usize = 1_000;
/// How often numbers are looked up again that another process has taken.
const TRIES: usize = 5;

/// Lines of several callers, as one command.
pub(super) struct Lines(pub(super) Link);

#[async_trait]
impl Work for Lines {
    type Item = Vec<(JobKey, LogLine)>;
    type Answer = ();

    fn bytes(lines: &Self::Item) -> usize {
        lines.iter().map(|(_, line)| line.message.len()).sum()
    }

    fn subject(_: &Self::Item) -> Option<String> {
        None
    }

    async fn carry_out(&self, calls: Vec<Self::Item>) -> Result<Vec<Result<(), Fault>>, Fault> {
        let server = self.0.server()?;
        let answers = calls.iter().map(|_| Ok(())).collect();
        let mut logs: HashMap<String, Log> = HashMap::new();
        for (key, line) in calls.into_iter().flatten() {
            logs.entry(job_id(&key)).or_default().waiting.push(line);
        }
        append(&server, logs).await?;
        Ok(answers)
    }
}

/// What is to be added to a job's log.
#[derive(Default)]
struct Log {
    waiting: Vec<LogLine>,
    /// How many lines there are.
    next: usize,
}

async fn append(server: &Server, mut logs: HashMap<String, Log>) -> Result<(), Fault> {
    let known = lengths(server, logs.keys()).await?;
    logs.retain(|id, log| {
        let there = known.get(id);
        log.next = there.copied().unwrap_or(0);
        there.is_some()
    });
    let mut touched: Vec<(String, usize)> = Vec::new();
    for _ in 0..TRIES {
        let taken = insert(server, &mut logs).await?;
        touched.extend(logs.iter().filter(|(id, _)| !taken.contains_key(*id)).map(|(id, log)| (id.clone(), log.next)));
        if taken.is_empty() {
            return record(server, &touched).await;
        }
        // Somebody else has numbered lines meanwhile: go on after theirs.
        for (id, waiting) in &taken {
            let next = last_number(server, id).await?.map_or(0, |last| last + 1);
            logs.insert(id.clone(), Log { waiting: waiting.clone(), next });
        }
        logs.retain(|id, _| taken.contains_key(id));
    }
    record(server, &touched).await
}

/// Inserts the lines, numbered; tells which had their numbers taken.
async fn insert(server: &Server, logs: &mut HashMap<String, Log>) -> Result<HashMap<String, Vec<LogLine>>, Fault> {
    let mut numbered = Vec::new();
    for (id, log) in logs {
        for line in log.waiting.drain(..) {
            if log.next < MOST {
                numbered.push((id.clone(), log.next, line));
                log.next += 1;
            }
        }
    }
    let mut taken: HashMap<String, Vec<LogLine>> = HashMap::new();
    for some in numbered.chunks(super::STATEMENTS) {
        let documents: RawArrayBuf = some.iter().map(|(id, number, line)| document(id, *number, line)).collect();
        for (place, fault) in server.insert(LOGS, documents).await?.refused {
            match some.get(place) {
                Some((id, _, line)) if fault.is_duplicate() => taken.entry(id.clone()).or_default().push(line.clone()),
                _ => return Err(fault),
            }
        }
    }
    Ok(taken)
}

pub(super) fn document(job: &str, number: usize, line: &LogLine) -> RawDocumentBuf {
    rawdoc! {
        "_id": line_id(job, number),
        "at": time(line.at),
        "attempt": i64::from(line.attempt),
        "message": line.message.as_str(),
    }
}

/// The `_id` of a line.
pub(super) fn line_id(job: &str, number: usize) -> String {
    format!("{job}/{number:04}")
}

/// Reads a line.
pub(super) fn line(document: &RawDocument) -> Result<LogLine, Fault> {
    let Some(value) = document.get("attempt")? else {
        return Err(Fault::Corrupt("a line without its attempt".into()));
    };
    Ok(LogLine {
        at: Timestamp::from_millis(document.get_datetime("at")?.timestamp_millis()),
        attempt: Cell { document, field: "attempt", value }.number()?,
        message: document.get_str("message")?.to_owned(),
    })
}

/// How many lines each of these jobs has; a job that is gone is left out.
async fn lengths(server: &Server, ids: impl Iterator<Item = &String>) -> Result<HashMap<String, usize>, Fault> {
    let filter = rawdoc! { "_id": among(ids.map(String::as_str)) };
    let find = Find { fields: rawdoc! { "logged": 1 }, sees: Sees::Majority, ..Find::new(JOBS, filter) };
    let mut lengths = HashMap::new();
    for document in server.find(find).await? {
        let length = match document.get("logged")? {
            Some(value) => Cell { document: &document, field: "logged", value }.number()?,
            None => 0,
        };
        lengths.insert(id(&document)?.to_owned(), length);
    }
    Ok(lengths)
}

async fn last_number(server: &Server, job: &str) -> Result<Option<usize>, Fault> {
    let last = Find { sort: rawdoc! { "_id": -1 }, limit: Some(1), ..Find::new(LOGS, of(job)) };
    let found = server.find(last).await?;
    let Some(document) = found.first() else { return Ok(None) };
    Ok(id(document)?.rsplit('/').next().and_then(|number| number.parse().ok()))
}

/// Has the jobs know how long their logs are. A job that is gone by now takes its lines along.
async fn record(server: &Server, lengths: &[(String, usize)]) -> Result<(), Fault> {
    for some in lengths.chunks(super::STATEMENTS) {
        let statement = |(id, length): &(String, usize)| {
            rawdoc! { "q": { "_id": id.as_str() }, "u": { "$max": { "logged": *length as i64 } } }
        };
        let matched = server.update(JOBS, some.iter().map(statement).collect()).await?.all()?;
        if matched < some.len() as u64 {
            let there = self::lengths(server, some.iter().map(|(id, _)| id)).await?;
            let gone: Vec<String> =
                some.iter().map(|(id, _)| id.clone()).filter(|id| !there.contains_key(id)).collect();
            erase(server, &gone).await?;
        }
    }
    Ok(())
}

/// The lines of a job: its `_id` and a slash; `0` comes right after the slash.
fn of(job: &str) -> RawDocumentBuf {
    rawdoc! { "_id": { "$gte": format!("{job}/"), "$lt": format!("{job}0") } }
}

pub(super) async fn read(server: &Server, key: &JobKey) -> Result<Vec<LogLine>, Fault> {
    let find = Find { sort: rawdoc! { "_id": 1 }, ..Find::new(LOGS, of(&job_id(key))) };
    server.find(find).await?.iter().map(|document| line(document)).collect()
}

/// Erases the logs of these jobs.
pub(super) async fn erase(server: &Server, jobs: &[String]) -> Result<(), Fault> {
    if jobs.is_empty() {
        return Ok(());
    }
    server.delete(LOGS, jobs.iter().map(|job| of(job)), 0).await.map(drop)
}
