//! Jobs with all that belongs to them, read and restored as they are.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use gristmill_common::{
    Part,
    http::LogLine,
    job::{JobKey, NewJob},
};
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    MongoStore, blobs,
    collections::{JOBS, LOGS},
    decode::{Record, decode},
    document::{append_body, encode, job_id, part_name},
    fault::Fault,
    jobs_read, logs,
    server::{Find, Sees, Server, among, id},
};
use crate::{ArchiveStore, Restored, StoreError, Whole};

/// The most jobs read at once: with their bodies they are some megabytes.
const PAGE: usize = 100;
/// The most lines of logs read at once.
const LINES: usize = 1_000;

#[async_trait]
impl ArchiveStore for MongoStore {
    async fn walk(&self, after: Option<&JobKey>, limit: usize) -> Result<Vec<Whole>, StoreError> {
        let server = self.link.server()?;
        let filter = after.map_or_else(RawDocumentBuf::new, |key| rawdoc! { "_id": { "$gt": job_id(key) } });
        let page = Find { sort: rawdoc! { "_id": 1 }, limit: Some(limit.min(PAGE)), ..Find::new(JOBS, filter) };
        Ok(complete(&server, server.find(page).await?).await?)
    }

    async fn whole(&self, keys: &[JobKey]) -> Result<Vec<Option<Whole>>, StoreError> {
        let server = self.link.server()?;
        let mut found = HashMap::new();
        for some in keys.chunks(PAGE) {
            let ids: Vec<String> = some.iter().map(job_id).collect();
            let filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)) };
            let documents = server.find(Find { sees: Sees::Majority, ..Find::new(JOBS, filter) }).await?;
            found.extend(complete(&server, documents).await?.into_iter().map(|whole| (whole.job.key.clone(), whole)));
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn restore(&self, jobs: Vec<Whole>) -> Result<Vec<Restored>, StoreError> {
        let server = self.link.server()?;
        let mut outcomes = Vec::with_capacity(jobs.len());
        for some in jobs.chunks(super::STATEMENTS) {
            outcomes.extend(restore_some(&server, some).await?);
        }
        Ok(outcomes)
    }
}

/// Jobs as they were read, with their logs.
async fn complete(server: &Server, documents: Vec<RawDocumentBuf>) -> Result<Vec<Whole>, Fault> {
    let (mut jobs, mut lines) = (Vec::with_capacity(documents.len()), Vec::new());
    for document in &documents {
        let (id, length) = (id(document)?, logs::length(document)?);
        lines.extend((0..length).map(|number| logs::line_id(id, number)));
        let Record { job, payload, text, result, .. } = decode(document)?;
        let payload = payload.ok_or_else(|| Fault::Corrupt(format!("{} has lost its payload", job.key.id)))?;
        jobs.push(Whole { job, payload, text, result, logs: Vec::new() });
    }
    let mut logs = read_lines(server, &lines).await?;
    for whole in &mut jobs {
        whole.logs = logs.remove(&job_id(&whole.job.key)).unwrap_or_default();
    }
    Ok(jobs)
}

/// The lines with these ids, by job, in order.
async fn read_lines(server: &Server, ids: &[String]) -> Result<HashMap<String, Vec<LogLine>>, Fault> {
    let mut logs: HashMap<String, Vec<LogLine>> = HashMap::new();
    for some in ids.chunks(LINES) {
        let filter = rawdoc! { "_id": among(some.iter().map(String::as_str)) };
        let find = Find { sort: rawdoc! { "_id": 1 }, sees: Sees::Majority, ..Find::new(LOGS, filter) };
        for document in server.find(find).await? {
            let job = id(&document)?.rsplit_once('/').map(|(job, _)| job.to_owned());
            logs.entry(job.unwrap_or_default()).or_default().push(logs::line(&document)?);
        }
    }
    Ok(logs)
}

/// Restores jobs whose keys are free. What belongs to a job is written before it, so that a job that is there is whole:
/// broken off, the same is written again.
async fn restore_some(server: &Server, jobs: &[Whole]) -> Result<Vec<Restored>, Fault> {
    let ids: Vec<String> = jobs.iter().map(|whole| job_id(&whole.job.key)).collect();
    let mut taken = jobs_read::there(server, ids.iter().map(String::as_str)).await?;
    let mut outcomes = vec![Restored::Exists; jobs.len()];
    let mut places = Vec::new();
    for (place, id) in ids.iter().enumerate() {
        if taken.insert(id.clone()) {
            places.push(place);
        }
    }
    let free: Vec<(&String, &Whole)> =
        places.iter().filter_map(|place| Some((ids.get(*place)?, jobs.get(*place)?))).collect();
    if free.is_empty() {
        return Ok(outcomes);
    }
    write_logs(server, &free).await?;
    let mut named = Vec::new();
    for (at, (_, whole)) in free.iter().enumerate() {
        for id in blobs_of(whole) {
            let blob = blobs::Taken { id, owner: whole.job.key.clone() };
            blobs::take(server, &blob).await?;
            named.push((at, blob));
        }
    }
    let documents = free.iter().map(|(_, whole)| document(whole)).collect::<Result<Vec<_>, Fault>>()?;
    let written = server.insert(JOBS, documents.into_iter().collect()).await?;
    let mut refused = HashSet::new();
    for (at, fault) in written.refused {
        if !fault.is_duplicate() {
            return Err(fault);
        }
        refused.insert(at);
    }
    for (at, blob) in &named {
        let owner = if refused.contains(at) { blobs::Owner::ToBeAsked } else { blobs::Owner::Written };
        blobs::conclude(server, blob, owner).await;
    }
    for (at, place) in places.into_iter().enumerate() {
        if let Some(outcome) = outcomes.get_mut(place).filter(|_| !refused.contains(&at)) {
            *outcome = Restored::Created;
        }
    }
    Ok(outcomes)
}

/// Writes the lines of jobs that are not there yet. Those that an earlier try has left are the same.
async fn write_logs(server: &Server, jobs: &[(&String, &Whole)]) -> Result<(), Fault> {
    let numbered = jobs.iter().flat_map(|(id, whole)| whole.logs.iter().enumerate().map(move |line| (id, line)));
    let lines: Vec<RawDocumentBuf> = numbered.map(|(id, (number, line))| logs::document(id, number, line)).collect();
    for some in lines.chunks(super::STATEMENTS) {
        for (_, fault) in server.insert(LOGS, some.iter().cloned().collect::<RawArrayBuf>()).await?.refused {
            if !fault.is_duplicate() {
                return Err(fault);
            }
        }
    }
    Ok(())
}

/// The document of a job as it is.
fn document(whole: &Whole) -> Result<RawDocumentBuf, Fault> {
    let Whole { job, payload, text, result, logs } = whole.clone();
    let mut document = encode(&NewJob { job, payload, text })?;
    if let Some(result) = &result {
        append_body(&mut document, part_name(Part::Result), result);
    }
    if !logs.is_empty() {
        document.append(cstr!("logged"), logs.len() as i64);
    }
    Ok(document)
}

fn blobs_of(whole: &Whole) -> impl Iterator<Item = gristmill_common::BlobId> {
    let bodies = [Some(&whole.payload), whole.text.as_ref(), whole.result.as_ref()].into_iter().flatten();
    bodies.filter_map(|body| if let gristmill_common::Body::Blob(blob) = body { Some(blob.id) } else { None })
}
