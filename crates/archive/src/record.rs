//! A job as a line of an archive. A line with a field that is not known here is of a newer format. Version 2 has the
//! gates: a job without any is the same line in both.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, JobId, LeaseId, QueueName, State, Tenant, Timestamp, TypeName, WorkerId,
    http::LogLine,
    job::{Backoff, Gates, History, Job, JobError, JobKey, Priority, Progress},
};
use gristmill_storage::Whole;
use serde::{Deserialize, Serialize};

use crate::files::Seal;

/// A job with all that belongs to it. The same job is always the same line, whichever store it was read from, so two
/// jobs are compared by their lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRecord {
    pub(crate) tenant: Tenant,
    pub(crate) id: JobId,
    #[serde(rename = "type")]
    job_type: TypeName,
    pub(crate) queue: QueueName,
    priority: Priority,
    pub(crate) state: State,
    pub(crate) version: u64,
    wake_at: Timestamp,
    created_at: Timestamp,
    attempt: u32,
    max_attempts: u32,
    claims: u32,
    rescues: u32,
    rings: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settled_by: Option<LeaseId>,
    cancel_requested: bool,
    backoff: Backoff,
    timeout_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_at: Option<Timestamp>,
    progress: Progress,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<JobError>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<[u8; 32]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gates: Option<Box<Gates>>,
    history: History,
    payload: BodyRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<BodyRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<BodyRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogLine>,
}

/// A body in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BodyRecord {
    /// Bytes that are UTF-8, as the text that they are.
    Utf8(String),
    /// Other bytes.
    Base64(String),
    /// Bytes in a file of their own.
    Blob(BlobRecord),
}

/// A body in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRecord {
    /// The file's name.
    pub(crate) id: BlobId,
    /// What it must hold.
    #[serde(flatten)]
    pub(crate) seal: Seal,
}

/// What was found where a body's bytes should be.
pub(crate) type Seals = HashMap<BlobId, Seal>;

impl JobRecord {
    /// The record of a job whose blobs hold what the seals say.
    pub(crate) fn of(whole: Whole, seals: &Seals) -> Self {
        let Whole { job, payload, text, result, logs } = whole;
        // Named one by one: a field added to the job and forgotten here does not compile.
        let Job {
            key: JobKey { tenant, id },
            job_type,
            queue,
            priority,
            state,
            wake_at,
            attempt,
            max_attempts,
            claims,
            rescues,
            rings,
            lease,
            worker,
            settled_by,
            cancel_requested,
            backoff,
            timeout_ms,
            deadline,
            run_at,
            created_at,
            started_at,
            finished_at,
            failed_at,
            progress,
            error,
            tags,
            trace,
            fingerprint,
            gates,
            version,
            history,
        } = job;
        Self {
            tenant,
            id,
            job_type,
            queue,
            priority,
            state,
            version,
            wake_at,
            created_at,
            attempt,
            max_attempts,
            claims,
            rescues,
            rings,
            lease,
            worker,
            settled_by,
            cancel_requested,
            backoff,
            // Stores have signed numbers only.
            timeout_ms: timeout_ms.min(i64::MAX as u64),
            deadline,
            run_at,
            started_at,
            finished_at,
            failed_at,
            progress,
            error,
            tags,
            trace,
            fingerprint,
            gates,
            history,
            payload: BodyRecord::of(payload, seals),
            text: text.map(|body| BodyRecord::of(body, seals)),
            result: result.map(|body| BodyRecord::of(body, seals)),
            logs,
        }
    }

    /// The job; an error says which body is no body.
    pub(crate) fn into_whole(self) -> Result<Whole, base64::DecodeError> {
        let job = Job {
            key: self.key(),
            job_type: self.job_type,
            queue: self.queue,
            priority: self.priority,
            state: self.state,
            wake_at: self.wake_at,
            attempt: self.attempt,
            max_attempts: self.max_attempts,
            claims: self.claims,
            rescues: self.rescues,
            rings: self.rings,
            lease: self.lease,
            worker: self.worker,
            settled_by: self.settled_by,
            cancel_requested: self.cancel_requested,
            backoff: self.backoff,
            timeout_ms: self.timeout_ms,
            deadline: self.deadline,
            run_at: self.run_at,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            failed_at: self.failed_at,
            progress: self.progress,
            error: self.error,
            tags: self.tags,
            trace: self.trace,
            fingerprint: self.fingerprint,
            gates: self.gates,
            version: self.version,
            history: self.history,
        };
        Ok(Whole {
            job,
            payload: self.payload.into_body()?,
            text: self.text.map(BodyRecord::into_body).transpose()?,
            result: self.result.map(BodyRecord::into_body).transpose()?,
            logs: self.logs,
        })
    }

    /// The job's key.
    pub(crate) fn key(&self) -> JobKey {
        JobKey { tenant: self.tenant.clone(), id: self.id }
    }

    /// The oldest format that can hold it.
    pub(crate) fn format(&self) -> u32 {
        if self.gates.is_some() { 2 } else { 1 }
    }

    /// About how long its bodies and its log are, blobs included. Bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let bodies = [Some(&self.payload), self.text.as_ref(), self.result.as_ref()].into_iter().flatten();
        let lines = self.logs.iter().map(|line| line.message.len() as u64);
        bodies.map(BodyRecord::bytes).chain(lines).sum()
    }

    /// Whether what was sent with the job, and never changes, is the same in both.
    pub(crate) fn has_the_bodies_of(&self, other: &Self) -> bool {
        self.payload == other.payload && self.text == other.text
    }

    /// The bodies that are files of their own.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &BlobRecord> {
        let bodies = [Some(&self.payload), self.text.as_ref(), self.result.as_ref()].into_iter().flatten();
        bodies.filter_map(|body| if let BodyRecord::Blob(blob) = body { Some(blob) } else { None })
    }
}

/// The blobs that a job names.
pub(crate) fn blobs_of(whole: &Whole) -> impl Iterator<Item = BlobRef> {
    let bodies = [Some(&whole.payload), whole.text.as_ref(), whole.result.as_ref()].into_iter().flatten();
    bodies.filter_map(|body| if let Body::Blob(blob) = body { Some(*blob) } else { None })
}

impl BodyRecord {
    fn of(body: Body, seals: &Seals) -> Self {
        match body {
            Body::Inline(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Self::Utf8(text.to_owned()),
                Err(_) => Self::Base64(BASE64_STANDARD.encode(&bytes)),
            },
            Body::Blob(BlobRef { id, bytes }) => {
                // One that could not be read to its end has no digest, and equals none that has.
                let seal = seals.get(&id).cloned().unwrap_or(Seal { bytes, sha256: String::new() });
                Self::Blob(BlobRecord { id, seal })
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Utf8(text) | Self::Base64(text) => text.len() as u64,
            Self::Blob(blob) => blob.seal.bytes,
        }
    }

    fn into_body(self) -> Result<Body, base64::DecodeError> {
        Ok(match self {
            Self::Utf8(text) => Body::Inline(Bytes::from(text)),
            Self::Base64(text) => Body::Inline(Bytes::from(BASE64_STANDARD.decode(text)?)),
            Self::Blob(BlobRecord { id, seal }) => Body::Blob(BlobRef { id, bytes: seal.bytes }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gristmill_common::job::{
        Concurrency, Debounce, GateKey, HistoryEntry, OnConflict, RateLimit, Unique, What, While,
    };

    use super::*;

    const GOLDEN: &str = include_str!("../tests/golden/job-v1.json");
    const GOLDEN_2: &str = include_str!("../tests/golden/job-v2.json");

    /// A job with something in every field that version 1 has.
    fn full() -> (Whole, Seals) {
        let at = |millis| Timestamp::from_millis(1_800_000_000_000) + Duration::from_millis(millis);
        let worker = WorkerId::from_bytes([2; 16]);
        let mut history = History::default();
        history.push(HistoryEntry::new(at(0), What::Created));
        (0..70).for_each(|n| history.push(HistoryEntry::new(at(n), What::Due)));
        history.push(HistoryEntry { worker: Some(worker), ..HistoryEntry::new(at(71), What::Claimed) });
        let job = Job {
            key: JobKey { tenant: "acme".parse().expect("a name"), id: JobId::from_bytes([1; 16]) },
            job_type: "word_count".parse().expect("a name"),
            queue: "books".parse().expect("a name"),
            priority: Priority::Low,
            state: State::Running,
            wake_at: at(1),
            attempt: 2,
            max_attempts: 3,
            claims: 4,
            rescues: 5,
            rings: 6,
            lease: Some(LeaseId::from_bytes([3; 16])),
            worker: Some(worker),
            settled_by: Some(LeaseId::from_bytes([4; 16])),
            cancel_requested: true,
            backoff: Backoff::Exponential { base_ms: 7, factor: 1.5, cap_ms: 8 },
            timeout_ms: 9,
            deadline: Some(at(10)),
            run_at: Some(at(11)),
            created_at: at(12),
            started_at: Some(at(13)),
            finished_at: Some(at(14)),
            failed_at: Some(at(15)),
            progress: Progress { percent: 16, message: Some("half".into()) },
            error: Some(JobError { code: "boom".into(), message: "a \"line\"\n\0".into(), attempt: 17 }),
            tags: vec!["α".into(), String::new()],
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            fingerprint: Some([5; 32]),
            gates: None,
            version: 18,
            history,
        };
        let blob = BlobRef { id: BlobId::from_bytes([6; 16]), bytes: 100_000 };
        let seals = Seals::from([(blob.id, Seal { bytes: 100_000, sha256: "ab".repeat(32) })]);
        let whole = Whole {
            job,
            payload: Body::Inline(Bytes::from_static(b"{ \"n\": 1e400 }\r\n")),
            text: Some(Body::Blob(blob)),
            result: Some(Body::Inline(Bytes::from_static(b"\xff\x00"))),
            logs: vec![LogLine { at: at(19), attempt: 20, message: "☂".into() }],
        };
        (whole, seals)
    }

    #[test]
    fn a_line_of_version_1_is_what_it_was() {
        let (whole, seals) = full();
        let record = JobRecord::of(whole.clone(), &seals);
        assert_eq!(record.format(), 1);
        let line = serde_json::to_string(&record).expect("JSON");
        assert_eq!(line, GOLDEN.trim_end());
        let read: JobRecord = serde_json::from_str(GOLDEN).expect("a line");
        assert_eq!(read.into_whole().expect("bodies"), whole);
    }

    #[test]
    fn a_line_of_version_2_is_what_it_was() {
        let (mut whole, seals) = full();
        whole.job.gates = Some(Box::new(Gates {
            unique: Some(Unique { key: key("ü/1"), held: While::ForMs(21), on_conflict: OnConflict::ReturnExisting }),
            debounce: Some(Debounce { key: key("d"), wait_ms: 22, max_wait_ms: 23 }),
            concurrency: Some(Concurrency { key: key("c \"x\""), limit: 24 }),
            rate_limit: Some(RateLimit { key: key("r"), limit: 25, per_ms: 26 }),
        }));
        let record = JobRecord::of(whole.clone(), &seals);
        assert_eq!(record.format(), 2);
        assert_eq!(serde_json::to_string(&record).expect("JSON"), GOLDEN_2.trim_end());
        let read: JobRecord = serde_json::from_str(GOLDEN_2).expect("a line");
        assert_eq!(read.into_whole().expect("bodies"), whole);
    }

    /// A history that tells attempts is no newer format: a build that does not know them reads the rest of it.
    #[test]
    fn a_history_keeps_its_attempts() {
        let (mut whole, seals) = full();
        let at = whole.job.created_at;
        for what in [What::Claimed, What::RetryScheduled, What::Parked, What::Failed, What::Succeeded] {
            whole.job.history.push(HistoryEntry { attempt: Some(27), ..HistoryEntry::new(at, what) });
        }
        let record = JobRecord::of(whole.clone(), &seals);
        assert_eq!(record.format(), 1);
        let line = serde_json::to_string(&record).expect("JSON");
        let read: JobRecord = serde_json::from_str(&line).expect("a line");
        assert_eq!(read.into_whole().expect("bodies"), whole);
    }

    fn key(text: &str) -> GateKey {
        text.parse().expect("a key")
    }

    #[test]
    fn a_line_with_a_field_that_is_not_known_is_refused() {
        let newer = GOLDEN.replacen("{\"tenant\"", "{\"newer\":1,\"tenant\"", 1);
        assert!(serde_json::from_str::<JobRecord>(&newer).is_err());
    }
}
