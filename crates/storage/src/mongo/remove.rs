//! Erasing jobs with all that belongs to them. There is no transaction over two documents: what a job leaves behind
//! is written down first, and whoever finds such a note finishes the work.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use gristmill_common::{BlobId, Timestamp};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};

use super::{
    blobs,
    collections::{JOBS, REMAINS},
    decode::known,
    document::{job_id, time},
    fault::Fault,
    jobs_read::there,
    logs,
    server::{Find, Server, among, id},
};
use crate::Removal;

/// How many notes a sweep reads.
const SWEEP: usize = 100;
/// How long a job that is noted and still there may be about to be erased: longer than any removal takes.
const UNDER_WAY: Duration = Duration::from_secs(60);

pub(super) async fn remove(server: &Server, removals: &[Removal]) -> Result<Vec<bool>, Fault> {
    let mut erased = Vec::with_capacity(removals.len());
    for some in removals.chunks(super::STATEMENTS) {
        erased.extend(remove_some(server, some).await?);
    }
    Ok(erased)
}

async fn remove_some(server: &Server, removals: &[Removal]) -> Result<Vec<bool>, Fault> {
    let ids: Vec<String> = removals.iter().map(|removal| job_id(&removal.key)).collect();
    let read = read(server, &ids).await?;
    // Each job once, if it is as the removal says.
    let mut wanted: HashMap<&str, &Removal> = HashMap::new();
    let mut places = Vec::new();
    for (removal, id) in removals.iter().zip(&ids) {
        let as_said = read
            .get(id)
            .is_some_and(|seen| seen.state == removal.state.as_str() && seen.wake_at == time(removal.wake_at));
        places.push(as_said && wanted.insert(id, removal).is_none());
    }
    if wanted.is_empty() {
        return Ok(places);
    }
    let leave: Vec<(&str, &Seen)> = wanted
        .keys()
        .filter_map(|id| read.get_key_value(*id))
        .filter(|(_, seen)| seen.leaves())
        .map(|(id, seen)| (id.as_str(), seen))
        .collect();
    note(server, &leave).await?;
    let filters = wanted.iter().map(|(id, removal)| {
        rawdoc! { "_id": *id, "state": removal.state.as_str(), "wake_at": time(removal.wake_at), "v": known() }
    });
    let gone = server.delete(JOBS, filters, 1).await?;
    let kept = if gone == wanted.len() as u64 { HashSet::new() } else { there(server, wanted.keys().copied()).await? };
    clear(server, leave.iter().filter(|(id, _)| !kept.contains(*id)).map(|(id, seen)| (*id, &seen.blobs[..]))).await?;
    forget(server, leave.iter().map(|(id, _)| *id)).await?;
    Ok(places.into_iter().zip(&ids).map(|(mine, id)| mine && !kept.contains(id)).collect())
}

/// What is to be known of a job before it is erased.
struct Seen {
    state: String,
    wake_at: mongodb::bson::DateTime,
    has_log: bool,
    blobs: Vec<String>,
}

impl Seen {
    fn leaves(&self) -> bool {
        self.has_log || !self.blobs.is_empty()
    }
}

async fn read(server: &Server, ids: &[String]) -> Result<HashMap<String, Seen>, Fault> {
    let fields = rawdoc! { "state": 1, "wake_at": 1, "logged": 1, "payload.blob": 1, "text.blob": 1, "result.blob": 1 };
    let filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)), "v": known() };
    let mut read = HashMap::new();
    for document in server.find(Find { fields, ..Find::new(JOBS, filter) }).await? {
        let seen = Seen {
            state: document.get_str("state")?.to_owned(),
            wake_at: document.get_datetime("wake_at")?,
            has_log: document.get("logged")?.is_some(),
            blobs: blobs::named_by(&document).map(str::to_owned).collect(),
        };
        read.insert(id(&document)?.to_owned(), seen);
    }
    Ok(read)
}

/// Writes down what is to be erased once the jobs are gone.
async fn note(server: &Server, leave: &[(&str, &Seen)]) -> Result<(), Fault> {
    if leave.is_empty() {
        return Ok(());
    }
    let statement = |(id, seen): &(&str, &Seen)| {
        let blobs: RawArrayBuf = seen.blobs.iter().map(String::as_str).collect();
        let note = rawdoc! { "$set": { "blobs": blobs }, "$currentDate": { "at": true } };
        rawdoc! { "q": { "_id": *id }, "u": note, "upsert": true }
    };
    server.update(REMAINS, leave.iter().map(statement).collect()).await?.all().map(drop)
}

async fn forget<'a>(server: &Server, ids: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
    let filters: Vec<RawDocumentBuf> = ids.map(|id| rawdoc! { "_id": id }).collect();
    if filters.is_empty() {
        return Ok(());
    }
    server.delete(REMAINS, filters, 1).await.map(drop)
}

/// Erases what jobs that are gone have left.
async fn clear<'a>(server: &Server, left: impl Iterator<Item = (&'a str, &'a [String])>) -> Result<(), Fault> {
    let (mut of, mut blobs) = (Vec::new(), Vec::new());
    for (id, named) in left {
        of.push(id.to_owned());
        blobs.extend(named.iter().filter_map(|id| id.parse::<BlobId>().ok()));
    }
    logs::erase(server, &of).await?;
    blobs::erase(server, &blobs).await
}

/// Finishes removals that were broken off: their notes are still there. A note whose job is there too is forgotten once
/// nobody can be about to erase the job.
pub(super) async fn sweep(server: &Server, now: Timestamp) -> Result<(), Fault> {
    let notes = server.find(Find { limit: Some(SWEEP), ..Find::new(REMAINS, RawDocumentBuf::new()) }).await?;
    if notes.is_empty() {
        return Ok(());
    }
    let (mut left, mut under_way) = (Vec::new(), HashSet::new());
    for note in &notes {
        left.push((id(note)?, named_in(note)?));
        if note.get_datetime("at").is_ok_and(|at| at > time(now - UNDER_WAY)) {
            under_way.insert(id(note)?);
        }
    }
    let kept = there(server, left.iter().map(|(id, _)| *id)).await?;
    clear(server, left.iter().filter(|(id, _)| !kept.contains(*id)).map(|(id, blobs)| (*id, &blobs[..]))).await?;
    let over = left.iter().map(|(id, _)| *id).filter(|id| !(kept.contains(*id) && under_way.contains(id)));
    forget(server, over).await
}

fn named_in(note: &RawDocument) -> Result<Vec<String>, Fault> {
    let mut blobs = Vec::new();
    for blob in note.get_array("blobs")? {
        blobs.extend(blob?.as_str().map(str::to_owned));
    }
    Ok(blobs)
}
