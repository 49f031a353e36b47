//! The lines that handlers log: the first 1,000 of each job, each a document. The job knows how many there are.

use std::collections::HashMap;

use async_trait::async_trait;
use gristmill_common::{Timestamp, http::LogLine, job::JobKey};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    batcher::Work,
    collections::{JOBS, LOGS},
    decode::Cell,
    document::{job_id, time},
    fault::Fault,
    jobs_read::there,
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

/// Each job is told how long its log will be before there is a line of it: whatever happens in between, whoever erases
/// the job knows that there are lines.
async fn append(server: &Server, mut logs: HashMap<String, Log>) -> Result<(), Fault> {
    let known = lengths(server, logs.keys()).await?;
    logs.retain(|id, log| {
        log.next = known.get(id).copied().unwrap_or(MOST);
        log.next < MOST
    });
    let ids: Vec<String> = logs.keys().cloned().collect();
    for _ in 0..TRIES {
        announce(server, &logs).await?;
        let taken = insert(server, &mut logs).await?;
        if taken.is_empty() {
            return erase_of_gone(server, &ids).await;
        }
        // Somebody else has numbered lines meanwhile: go on after theirs.
        logs.clear();
        for (id, waiting) in taken {
            let next = last_number(server, &id).await?.map_or(0, |last| last + 1);
            logs.insert(id, Log { waiting, next });
        }
    }
    for (id, log) in &logs {
        let lines = log.waiting.len();
        tracing::warn!(job.id = id, lines, "lines of a log are lost: others were faster to write to it each time");
    }
    erase_of_gone(server, &ids).await
}

/// Tells the jobs how long their logs will be.
async fn announce(server: &Server, logs: &HashMap<String, Log>) -> Result<(), Fault> {
    let statement = |(id, log): (&String, &Log)| {
        let length = log.next.saturating_add(log.waiting.len()).min(MOST);
        rawdoc! { "q": { "_id": id.as_str() }, "u": { "$max": { "logged": length as i64 } } }
    };
    let statements: Vec<RawDocumentBuf> = logs.iter().map(statement).collect();
    for some in statements.chunks(super::STATEMENTS) {
        server.update(JOBS, some.iter().map(|statement| statement.as_ref()).collect()).await?.all()?;
    }
    Ok(())
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

/// How many lines a job has at most, as its document says: some of them may never have been written.
pub(super) fn length(job: &RawDocument) -> Result<usize, Fault> {
    match job.get("logged")? {
        Some(value) => Cell { document: job, field: "logged", value }.number(),
        None => Ok(0),
    }
}

/// How many lines each of these jobs has; a job that is gone is left out.
async fn lengths(server: &Server, ids: impl Iterator<Item = &String>) -> Result<HashMap<String, usize>, Fault> {
    let filter = rawdoc! { "_id": among(ids.map(String::as_str)) };
    let find = Find { fields: rawdoc! { "logged": 1 }, sees: Sees::Majority, ..Find::new(JOBS, filter) };
    let mut lengths = HashMap::new();
    for document in server.find(find).await? {
        lengths.insert(id(&document)?.to_owned(), length(&document)?);
    }
    Ok(lengths)
}

async fn last_number(server: &Server, job: &str) -> Result<Option<usize>, Fault> {
    let last = Find { sort: rawdoc! { "_id": -1 }, limit: Some(1), ..Find::new(LOGS, of(job)) };
    let found = server.find(last).await?;
    let Some(document) = found.first() else { return Ok(None) };
    Ok(id(document)?.rsplit('/').next().and_then(|number| number.parse().ok()))
}

/// Erases the lines that were written while their jobs were erased.
async fn erase_of_gone(server: &Server, ids: &[String]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let there = there(server, ids.iter().map(String::as_str)).await?;
    let gone: Vec<String> = ids.iter().filter(|id| !there.contains(*id)).cloned().collect();
    erase(server, &gone).await
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
