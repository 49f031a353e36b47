//! A job as a document: which field holds what, in which form. `decode.rs` reads it.
//!
//! Fields that an index needs only in some states have two names, and a change of state renames them: `lane` while
//! the job is queued, `deadline` while it has not started. A plain update can do that without knowing the values.

use gristmill_common::{
    Body, Part, State, Timestamp,
    job::{JobError, JobKey, NewJob},
};
use mongodb::bson::{
    Binary, DateTime, RawArrayBuf, RawDocumentBuf,
    raw::{CStr, cstr},
    rawdoc,
    spec::BinarySubtype,
};

use super::{decode::WITH_GATES, fault::Fault, history};

/// A field that an index needs only in some states.
pub(super) struct TwoNames {
    /// Its name where the index needs it.
    indexed: &'static CStr,
    /// Its name in every other state.
    hidden: &'static CStr,
    is_indexed: fn(State) -> bool,
}

/// The lane. It counts while the job is queued.
pub(super) const LANE: TwoNames =
    TwoNames { indexed: cstr!("lane"), hidden: cstr!("lane_was"), is_indexed: |state| state == State::Queued };
/// The deadline. It counts while the job has not started.
pub(super) const DEADLINE: TwoNames = TwoNames {
    indexed: cstr!("deadline"),
    hidden: cstr!("deadline_was"),
    is_indexed: |state| matches!(state, State::Scheduled | State::Queued),
};

impl TwoNames {
    /// The name that the field has in a state.
    pub(super) fn of(&self, state: State) -> &'static CStr {
        if (self.is_indexed)(state) { self.indexed } else { self.hidden }
    }

    /// The name that it does not have in that state.
    pub(super) fn not_of(&self, state: State) -> &'static CStr {
        if (self.is_indexed)(state) { self.hidden } else { self.indexed }
    }
}

/// A job's `_id`. Neither part holds a slash, and every id is of one length.
pub(super) fn job_id(key: &JobKey) -> String {
    format!("{}/{}", key.id, key.tenant)
}

pub(super) fn job_key(id: &str) -> Option<JobKey> {
    let (id, tenant) = id.split_once('/')?;
    Some(JobKey { tenant: tenant.parse().ok()?, id: id.parse().ok()? })
}

pub(super) fn time(at: Timestamp) -> DateTime {
    DateTime::from_millis(at.as_millis())
}

/// The field that holds a body.
pub(super) fn part_name(part: Part) -> &'static CStr {
    match part {
        Part::Payload => cstr!("payload"),
        Part::Text => cstr!("text"),
        Part::Result => cstr!("result"),
    }
}

/// The bodies of a document, left out.
pub(super) fn without_bodies() -> RawDocumentBuf {
    rawdoc! { "payload": 0, "text": 0, "result": 0 }
}

/// Appends a body: its bytes, or the blob that has them.
pub(super) fn append_body(document: &mut RawDocumentBuf, field: &CStr, body: &Body) {
    match body {
        Body::Inline(bytes) => document.append(field, binary(bytes)),
        Body::Blob(blob) => {
            let length = signed(blob.bytes);
            document.append(field, rawdoc! { "blob": blob.id.to_string(), "bytes": length });
        }
    }
}

pub(super) fn binary(bytes: &[u8]) -> mongodb::bson::raw::RawBinaryRef<'_> {
    mongodb::bson::raw::RawBinaryRef { subtype: BinarySubtype::Generic, bytes }
}

/// MongoDB has signed numbers only. No timeout and no version comes near the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn error_document(error: &JobError) -> RawDocumentBuf {
    rawdoc! { "code": error.code.as_str(), "message": error.message.as_str(), "attempt": i64::from(error.attempt) }
}

/// What only dead letters have.
pub(super) fn dead_document(key: &JobKey, failed_at: Timestamp) -> RawDocumentBuf {
    rawdoc! { "tenant": key.tenant.as_str(), "at": time(failed_at), "id": job_id(key) }
}

/// The document of a new job.
pub(super) fn encode(new: &NewJob) -> Result<RawDocumentBuf, Fault> {
    let job = &new.job;
    let backoff = serde_json::to_string(&job.backoff).map_err(|error| Fault::Corrupt(error.to_string()))?;
    let mut document = rawdoc! {
        "_id": job_id(&job.key),
        "type": job.job_type.as_str(),
        "tenant": job.key.tenant.as_str(),
        "queue": job.queue.as_str(),
        "priority": job.priority.band() as i64,
        "state": job.state.as_str(),
        "wake_at": time(job.wake_at),
        "created_at": time(job.created_at),
        "attempt": i64::from(job.attempt),
        "max_attempts": i64::from(job.max_attempts),
        "claims": i64::from(job.claims),
        "rescues": i64::from(job.rescues),
        "rings": i64::from(job.rings),
        "cancel_requested": job.cancel_requested,
        "backoff": backoff,
        "timeout_ms": signed(job.timeout_ms),
        "percent": i64::from(job.progress.percent),
        "version": signed(job.version),
    };
    document.append(LANE.of(job.state), job.lane().to_text());
    let mut text = |field, value: Option<String>| {
        if let Some(value) = value {
            document.append(field, value);
        }
    };
    text(cstr!("lease"), job.lease.map(|id| id.to_string()));
    text(cstr!("worker"), job.worker.map(|id| id.to_string()));
    text(cstr!("settled_by"), job.settled_by.map(|id| id.to_string()));
    text(cstr!("message"), job.progress.message.clone());
    text(cstr!("trace"), job.trace.clone());
    for (field, value) in [
        (DEADLINE.of(job.state), job.deadline),
        (cstr!("run_at"), job.run_at),
        (cstr!("started_at"), job.started_at),
        (cstr!("finished_at"), job.finished_at),
    ] {
        if let Some(at) = value {
            document.append(field, time(at));
        }
    }
    if let Some(at) = job.failed_at {
        document.append(cstr!("dead"), dead_document(&job.key, at));
    }
    if let Some(error) = &job.error {
        document.append(cstr!("error"), error_document(error));
    }
    if !job.tags.is_empty() {
        document.append(cstr!("tags"), job.tags.iter().map(String::as_str).collect::<RawArrayBuf>());
    }
    if let Some(fingerprint) = job.fingerprint {
        document.append(cstr!("fingerprint"), Binary { subtype: BinarySubtype::Generic, bytes: fingerprint.to_vec() });
    }
    if let Some(gates) = &job.gates {
        let gates = serde_json::to_string(gates).map_err(|error| Fault::Corrupt(error.to_string()))?;
        document.append(cstr!("gates"), gates);
        document.append(cstr!("v"), WITH_GATES);
    }
    history::append(&mut document, &job.history);
    append_body(&mut document, part_name(Part::Payload), &new.payload);
    if let Some(body) = &new.text {
        append_body(&mut document, part_name(Part::Text), body);
    }
    Ok(document)
}
