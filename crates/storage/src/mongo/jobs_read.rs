//! Finding jobs: by their keys, and along the duties' indexes.

use std::collections::HashMap;

use gristmill_common::{
    Body, Part, QueueName, State, Timestamp,
    job::{Job, JobKey, Lane},
};
use mongodb::bson::{Bson, RawArrayBuf, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    collections::{DEADLINE, DUTIES, JOBS},
    document::{Record, decode, decode_any, job_id, known, part_name, time, without_bodies},
    fault::Fault,
    server::{Find, Sees, Server, among, bound},
};
use crate::{DueScan, Found};

/// How many queued jobs are looked at for the oldest.
const LOOKED_AT: i64 = 10_000;

pub(super) async fn get(server: &Server, key: &JobKey) -> Result<Option<Found>, Fault> {
    let fields = rawdoc! { "payload": 0, "text": 0 };
    let found = server.find(Find { fields, ..Find::new(JOBS, rawdoc! { "_id": job_id(key) }) }).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let Record { job, result, .. } = decode(document)?;
    Ok(Some(Found { job, result }))
}

pub(super) async fn body(server: &Server, key: &JobKey, part: Part) -> Result<Option<Body>, Fault> {
    let field = part_name(part);
    let mut fields = RawDocumentBuf::new();
    fields.append(field, 1);
    let found = server.find(Find { fields, ..Find::new(JOBS, rawdoc! { "_id": job_id(key) }) }).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let Some(value) = document.get(field.as_str())? else { return Ok(None) };
    super::document::Cell { document, field: field.as_str(), value }.body().map(Some)
}

pub(super) async fn waiting(server: &Server, keys: &[JobKey]) -> Result<Vec<Job>, Fault> {
    let ids: Vec<String> = keys.iter().map(job_id).collect();
    let mut filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)), "state": State::Queued.as_str() };
    filter.append(cstr!("v"), known());
    along(server, Find { fields: without_bodies(), ..Find::new(JOBS, filter) }).await
}

/// These jobs, as they durably are.
pub(super) async fn jobs(server: &Server, keys: &[JobKey]) -> Result<Vec<Option<Job>>, Fault> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = keys.iter().map(job_id).collect();
    let filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)) };
    let find = Find { fields: without_bodies(), sees: Sees::Majority, ..Find::new(JOBS, filter) };
    let mut found = HashMap::new();
    for document in server.find(find).await? {
        let job = decode_any(&document)?;
        found.insert(job.key.clone(), job);
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

/// Jobs along an index.
async fn along(server: &Server, find: Find<'_>) -> Result<Vec<Job>, Fault> {
    server.find(find).await?.iter().map(|document| Ok(decode(document)?.job)).collect()
}

/// The range of the duties' index in which a scan begins.
fn duties(state: State, lane: Option<&Lane>) -> RawDocumentBuf {
    let mut filter = rawdoc! { "state": state.as_str() };
    match lane {
        Some(lane) => filter.append(cstr!("lane"), lane.to_text()),
        None => filter.append(cstr!("lane"), mongodb::bson::RawBsonRef::Null),
    }
    filter
}

pub(super) fn due_find(scan: &DueScan) -> Find<'static> {
    let mut filter = duties(scan.state, scan.lane.as_ref());
    let until = time(scan.until);
    match &scan.after {
        None => filter.append(cstr!("wake_at"), rawdoc! { "$lte": until }),
        Some(after) => {
            filter.append(cstr!("wake_at"), rawdoc! { "$gte": time(after.at), "$lte": until });
            let mut either = RawArrayBuf::new();
            either.push(rawdoc! { "wake_at": { "$gt": time(after.at) } });
            // After the jobs of every tenant with this id: `0` comes right after the slash.
            either.push(rawdoc! { "_id": { "$gte": format!("{}0", after.id) } });
            filter.append(cstr!("$or"), either);
        }
    }
    filter.append(cstr!("v"), known());
    Find {
        fields: without_bodies(),
        sort: rawdoc! { "wake_at": 1, "_id": 1 },
        hint: Some(DUTIES.name),
        limit: Some(scan.limit),
        ..Find::new(JOBS, filter)
    }
}

pub(super) async fn due(server: &Server, scan: &DueScan) -> Result<Vec<Job>, Fault> {
    if scan.limit == 0 {
        return Ok(Vec::new());
    }
    along(server, due_find(scan)).await
}

pub(super) fn count_filter(state: State, from: Timestamp) -> RawDocumentBuf {
    let mut filter = duties(state, None);
    filter.append(cstr!("wake_at"), rawdoc! { "$gte": time(from) });
    filter
}

pub(super) async fn count_from(server: &Server, state: State, from: Timestamp) -> Result<u64, Fault> {
    let mut command = rawdoc! { "count": JOBS, "query": count_filter(state, from), "hint": DUTIES.name };
    bound(&mut command, Sees::Latest);
    let reply = server.run("count", command).await?;
    let n = reply.get("n").and_then(|n| n.as_i64().or_else(|| n.as_i32().map(i64::from)));
    n.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| Fault::Corrupt("a count without its number".into()))
}

pub(super) fn overdue_find(now: Timestamp, most: usize) -> Find<'static> {
    Find {
        fields: without_bodies(),
        sort: rawdoc! { "deadline": 1 },
        hint: Some(DEADLINE.name),
        limit: Some(most),
        ..Find::new(JOBS, rawdoc! { "deadline": { "$lte": time(now) }, "v": known() })
    }
}

pub(super) async fn overdue(server: &Server, now: Timestamp, most: usize) -> Result<Vec<Job>, Fault> {
    if most == 0 {
        return Ok(Vec::new());
    }
    along(server, overdue_find(now, most)).await
}

/// One seek for each lane, made by the server: it skips along the index from one to the next.
pub(super) async fn lanes(server: &Server) -> Result<Vec<Lane>, Fault> {
    let mut command = rawdoc! { "distinct": JOBS, "key": "lane", "query": { "state": State::Queued.as_str() } };
    bound(&mut command, Sees::Latest);
    let reply = server.run("distinct", command).await?;
    let values = reply.get_array("values").map_err(|error| Fault::Corrupt(error.to_string()))?;
    let mut texts: Vec<&str> = values.iter().filter_map(Bson::as_str).collect();
    texts.sort_unstable();
    let lane = |text: &str| Lane::from_text(text).ok_or_else(|| Fault::Corrupt(format!("`{text}` is no lane")));
    texts.into_iter().map(lane).collect()
}

/// Lanes begin with their queue and a slash; `0` comes right after the slash.
pub(super) fn waiting_in(queue: &QueueName) -> RawDocumentBuf {
    rawdoc! { "state": State::Queued.as_str(), "lane": { "$gte": format!("{queue}/"), "$lt": format!("{queue}0") } }
}

pub(super) async fn oldest_waiting(server: &Server, queue: &QueueName) -> Result<Option<Timestamp>, Fault> {
    let mut stages = RawArrayBuf::new();
    stages.push(rawdoc! { "$match": waiting_in(queue) });
    stages.push(rawdoc! { "$limit": LOOKED_AT });
    stages.push(rawdoc! { "$group": { "_id": mongodb::bson::RawBson::Null, "oldest": { "$min": "$created_at" } } });
    let mut command = rawdoc! { "aggregate": JOBS, "pipeline": stages, "cursor": {}, "hint": DUTIES.name };
    bound(&mut command, Sees::Latest);
    let found = server.query("aggregate", command).await?;
    let Some(group) = found.first() else { return Ok(None) };
    Ok(Some(Timestamp::from_millis(group.get_datetime("oldest")?.timestamp_millis())))
}
