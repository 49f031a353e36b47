//! Claims and leases. A claim is a batch already, and a heartbeat must not wait behind other writes: each is a
//! command of its own, and a read that tells what became of it.

use std::collections::HashMap;

use gristmill_common::{
    LeaseId, State, Timestamp,
    job::{HistoryEntry, JobKey, What},
};
use mongodb::bson::{RawArrayBuf, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    collections::JOBS,
    decode::{Record, decode_among, known, leave_out, state},
    document::{DEADLINE, LANE, job_id, time},
    fault::{Fault, wrong},
    history,
    server::{Find, Sees, Server, among, id},
    update::Update,
};
use crate::{Claim, Claimed, Renewal, Whom};

/// What only other reads need.
fn for_a_worker() -> RawDocumentBuf {
    rawdoc! { "result": 0 }
}

pub(super) async fn claim(server: &Server, claim: &Claim) -> Result<Vec<Claimed>, Fault> {
    if claim.keys.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = claim.keys.iter().map(job_id).collect();
    let mut filter = rawdoc! { "_id": among(ids.iter().map(String::as_str)), "state": State::Queued.as_str() };
    filter.append(cstr!("v"), known());
    if claim.whom == Whom::NeverRescued {
        filter.append(cstr!("rescues"), 0_i64);
    }
    let mut statements = RawArrayBuf::new();
    statements.push(rawdoc! { "q": filter, "u": take(claim), "multi": true });
    match server.update(JOBS, statements).await?.all()? {
        0 => Ok(Vec::new()),
        _ => held(server, claim.lease, &claim.keys).await,
    }
}

/// What `Job::claim` decides, for any job.
fn take(claim: &Claim) -> RawDocumentBuf {
    let entry = HistoryEntry { worker: Some(claim.worker), ..HistoryEntry::new(claim.now, What::Claimed) };
    let mut update = Update::default();
    update.set(cstr!("state"), State::Running.as_str());
    update.set(cstr!("wake_at"), time(claim.until));
    update.set(cstr!("lease"), claim.lease.to_string());
    update.set(cstr!("worker"), claim.worker.to_string());
    update.set(cstr!("started_at"), time(claim.now));
    update.set(cstr!("percent"), 0_i64);
    update.unset(cstr!("message"));
    for field in [cstr!("attempt"), cstr!("claims"), cstr!("version"), cstr!("total")] {
        update.increase(field, 1);
    }
    update.push(cstr!("history"), history::push_claim(&entry));
    for field in [&LANE, &DEADLINE] {
        update.rename(field, State::Queued, State::Running);
    }
    update.into_document()
}

/// The jobs that run under a lease, in the order in which they were asked about.
pub(super) async fn held(server: &Server, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, Fault> {
    let ids: Vec<String> = keys.iter().map(job_id).collect();
    let filter = rawdoc! {
        "_id": among(ids.iter().map(String::as_str)),
        "state": State::Running.as_str(),
        "lease": lease.to_string(),
    };
    let find = Find { fields: for_a_worker(), sees: Sees::Majority, ..Find::new(JOBS, filter) };
    let mut found = HashMap::new();
    for document in server.find(find).await? {
        let Some(Record { job, payload, text, .. }) = decode_among(&document) else { continue };
        match payload {
            Some(payload) => drop(found.insert(job.key.clone(), Claimed { job, payload, text })),
            None => leave_out(&document, &wrong(&document, "payload", "it is lost")),
        }
    }
    Ok(keys.iter().filter_map(|key| found.remove(key)).collect())
}

pub(super) async fn renew(
    server: &Server,
    held: &[(JobKey, LeaseId)],
    until: Timestamp,
) -> Result<Vec<Renewal>, Fault> {
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let mut leases: HashMap<LeaseId, Vec<String>> = HashMap::new();
    for (key, lease) in held {
        leases.entry(*lease).or_default().push(job_id(key));
    }
    let statements: Vec<RawDocumentBuf> = leases.iter().map(|(lease, ids)| longer(*lease, ids, until)).collect();
    for some in statements.chunks(super::STATEMENTS) {
        server.update(JOBS, some.iter().map(|statement| statement.as_ref()).collect()).await?.all()?;
    }
    let ids: Vec<String> = held.iter().map(|(key, _)| job_id(key)).collect();
    let find = Find {
        fields: rawdoc! { "state": 1, "lease": 1, "cancel_requested": 1 },
        sees: Sees::Majority,
        ..Find::new(JOBS, rawdoc! { "_id": among(ids.iter().map(String::as_str)) })
    };
    let mut found = HashMap::new();
    for document in server.find(find).await? {
        let runs = state(document.get_str("state")?) == Some(State::Running);
        let lease = document.get_str("lease").unwrap_or_default().to_owned();
        found.insert(id(&document)?.to_owned(), (runs, lease, document.get_bool("cancel_requested")?));
    }
    let stands = |((_, lease), id): (&(JobKey, LeaseId), &String)| match found.get(id) {
        Some((true, current, asked)) if *current == lease.to_string() => {
            if *asked {
                Renewal::StopRequested
            } else {
                Renewal::Held
            }
        }
        _ => Renewal::Lost,
    };
    Ok(held.iter().zip(&ids).map(stands).collect())
}

/// Moves the ends of those that still run under a lease, and none of them back.
fn longer(lease: LeaseId, ids: &[String], until: Timestamp) -> RawDocumentBuf {
    let filter = rawdoc! {
        "_id": among(ids.iter().map(String::as_str)),
        "state": State::Running.as_str(),
        "lease": lease.to_string(),
    };
    rawdoc! { "q": filter, "u": { "$max": { "wake_at": time(until) } }, "multi": true }
}
