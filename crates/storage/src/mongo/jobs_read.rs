//! Finding jobs: by their keys, and along the duties' indexes.

use std::collections::{HashMap, HashSet};

use gristmill_common::{
    Body, Part, QueueName, State, Timestamp,
    job::{Job, JobKey, Lane},
};
use mongodb::bson::{
    Bson, RawArrayBuf, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
};

use super::{
    collections::{DEADLINE, DUTIES, JOBS},
    decode::{Cell, Record, decode, decode_among, decode_any, known},
    document::{job_id, part_name, time, without_bodies},
    fault::{Fault, number},
    server::{Find, Sees, Server, among, bound, id},
};
use crate::{DueScan, Found, unreadable};

/// How many queued jobs are looked at for the oldest.
const LOOKED_AT: i64 = 10_000;

/// Who settles a job finds out by this whether it was written: it must not see what a failover undoes.
pub(super) fn get_find(key: &JobKey) -> Find<'static> {
    let fields = rawdoc! { "payload": 0, "text": 0 };
    Find { fields, sees: Sees::Majority, ..Find::new(JOBS, rawdoc! { "_id": job_id(key) }) }
}

pub(super) async fn get(server: &Server, key: &JobKey) -> Result<Option<Found>, Fault> {
    let found = server.find(get_find(key)).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let Record { job, result, .. } = decode(document)?;
    Ok(Some(Found { job, result }))
}

/// A body, once written, stays as it is while its job does: what was told of the job before holds for it.
pub(super) async fn body(server: &Server, key: &JobKey, part: Part) -> Result<Option<Body>, Fault> {
    let field = part_name(part);
    let mut fields = RawDocumentBuf::new();
    fields.append(field, 1);
    let found = server.find(Find { fields, ..Find::new(JOBS, rawdoc! { "_id": job_id(key) }) }).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let Some(value) = document.get(field.as_str())? else { return Ok(None) };
    Cell { document, field: field.as_str(), value }.body().map(Some)
}

/// What it tells is for rings alone, which may be marked wrongly.
pub(super) async fn waiting(server: &Server, keys: &[JobKey]) -> Result<Vec<Job>, Fault> {
    let ids: Vec<String> = keys.iter().map(job_id).collect();
    let mut filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)), "state": State::Queued.as_str() };
    filter.append(cstr!("v"), known());
    let found = server.find(Find { fields: without_bodies(), ..Find::new(JOBS, filter) }).await?;
    Ok(found.iter().filter_map(|document| decode_among(document)).map(|record| record.job).collect())
}

/// Those of the jobs that are there.
pub(super) async fn there<'a>(
    server: &Server,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<HashSet<String>, Fault> {
    let filter = rawdoc! { "_id": among(ids) };
    let find = Find { fields: rawdoc! { "_id": 1 }, sees: Sees::Majority, ..Find::new(JOBS, filter) };
    server.find(find).await?.iter().map(|document| Ok(id(document)?.to_owned())).collect()
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

/// Jobs along an index by this clock: as many as asked for, unless the range ends before. Where some cannot be read,
/// others are read in their place.
async fn along(server: &Server, clock: &'static CStr, most: usize, range: Find<'static>) -> Result<Vec<Job>, Fault> {
    // To the server, no limit is 0.
    if most == 0 {
        return Ok(Vec::new());
    }
    let mut jobs = Vec::new();
    let mut find = range.clone();
    let (mut reached, mut seen) = (None, RawArrayBuf::new());
    loop {
        let found = server.find(find).await?;
        jobs.extend(found.iter().filter_map(|document| decode_among(document)).map(|record| record.job));
        let Some(last) = found.last().filter(|_| found.len() >= most && jobs.len() < most) else { break };
        let at = last.get_datetime(clock)?;
        if reached != Some(at) {
            (reached, seen) = (Some(at), RawArrayBuf::new());
        }
        for document in &found {
            if let Some(id) = document.get("_id")?.filter(|_| document.get_datetime(clock).ok() == reached) {
                seen.push(id);
            }
        }
        find = beyond(range.clone(), clock, at, seen.clone());
    }
    jobs.truncate(most);
    Ok(jobs)
}

/// What of a range comes at this time or later, without those of this very time that were seen already.
pub(super) fn beyond(
    mut range: Find<'static>,
    clock: &CStr,
    at: mongodb::bson::DateTime,
    seen: RawArrayBuf,
) -> Find<'static> {
    let mut later = RawDocumentBuf::new();
    later.append(clock, rawdoc! { "$gte": at });
    let mut both = RawArrayBuf::new();
    both.push(later);
    both.push(rawdoc! { "_id": { "$nin": seen } });
    range.filter.append(cstr!("$and"), both);
    range
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
    along(server, cstr!("wake_at"), scan.limit, due_find(scan)).await
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
    number(&reply, "n").ok_or_else(|| Fault::Corrupt("a count without its number".into()))
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
    along(server, cstr!("deadline"), most, overdue_find(now, most)).await
}

/// One seek for each lane, made by the server: it skips along the index from one to the next.
pub(super) async fn lanes(server: &Server) -> Result<Vec<Lane>, Fault> {
    let mut command = rawdoc! { "distinct": JOBS, "key": "lane", "query": { "state": State::Queued.as_str() } };
    bound(&mut command, Sees::Latest);
    let reply = server.run("distinct", command).await?;
    let values = reply.get_array("values").map_err(|error| Fault::Corrupt(error.to_string()))?;
    let mut texts: Vec<&str> = values.iter().filter_map(Bson::as_str).collect();
    texts.sort_unstable();
    let lane = |text: &str| {
        let lane = Lane::from_text(text);
        if lane.is_none() {
            unreadable::leave_out(text, &"it is no lane");
        }
        lane
    };
    Ok(texts.into_iter().filter_map(lane).collect())
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
