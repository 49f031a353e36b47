//! The messages on the broker. Each carries its version, and a golden file pins every version.

use serde::{Deserialize, Serialize};

use crate::{
    JobId, State, Tenant, TypeName,
    job::{Concurrency, Job, JobKey, Priority, RateLimit},
};

/// The newest version that this build reads, and what it writes for jobs with gates.
pub const DISPATCH_VERSION: u32 = 2;
/// What it writes for jobs without gates: builds that know of none may run them.
const UNGATED: u32 = 1;
/// The version that this build writes, and the newest it reads.
pub const JOB_EVENT_VERSION: u32 = 1;
/// The version that this build writes, and the newest it reads.
pub const JOB_EVENTS_VERSION: u32 = 1;

/// The message is not one that this build can read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// A newer build wrote it; a newer worker will understand it.
    #[error("message version {found} is newer than {known}")]
    FromTheFuture {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// It is no such message at all.
    #[error("not a message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// "Look at this job." It may be lost or doubled: the store is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// At most [`DISPATCH_VERSION`].
    pub v: u32,
    /// Whose job.
    pub tenant: Tenant,
    /// Which job.
    pub job_id: JobId,
    /// Its type: a worker that lacks the handler need not claim it to find out.
    #[serde(rename = "type")]
    pub job_type: TypeName,
    /// How often it had been claimed: tells a stale dispatch from a fresh one.
    pub claims: u32,
    /// Its band.
    pub priority: Priority,
    /// The W3C `traceparent` of the request that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What it has to pass before it is claimed. Since version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<Box<DispatchGates>>,
}

/// The gates that a worker asks before it claims a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchGates {
    /// Not more than so many at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Not more often than so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

impl DispatchGates {
    /// Those of a job, if it has any that a worker asks.
    #[must_use]
    pub fn of(job: &Job) -> Option<Box<Self>> {
        let gates = job.gates.as_ref()?;
        let of_workers = Self { concurrency: gates.concurrency.clone(), rate_limit: gates.rate_limit.clone() };
        (of_workers.concurrency.is_some() || of_workers.rate_limit.is_some()).then(|| Box::new(of_workers))
    }
}

impl Dispatch {
    /// The dispatch of this job as it stands.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let gates = DispatchGates::of(job);
        Self {
            v: if gates.is_some() { DISPATCH_VERSION } else { UNGATED },
            tenant: job.key.tenant.clone(),
            job_id: job.key.id,
            job_type: job.job_type.clone(),
            claims: job.claims,
            priority: job.priority,
            trace: job.trace.clone(),
            gates,
        }
    }

    /// The key of the job.
    #[must_use]
    pub fn key(&self) -> JobKey {
        JobKey { tenant: self.tenant.clone(), id: self.job_id }
    }
}

/// "This job has changed." For those who wait for it; whoever misses it asks the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// [`JOB_EVENT_VERSION`].
    pub v: u32,
    /// Whose job.
    pub tenant: Tenant,
    /// Which job.
    pub job_id: JobId,
    /// The state it has now.
    pub state: State,
}

impl JobEvent {
    /// The event that says that this job is now in this state.
    #[must_use]
    pub fn new(key: &JobKey, state: State) -> Self {
        Self { v: JOB_EVENT_VERSION, tenant: key.tenant.clone(), job_id: key.id, state }
    }

    /// The key of the job.
    #[must_use]
    pub fn key(&self) -> JobKey {
        JobKey { tenant: self.tenant.clone(), id: self.job_id }
    }
}

/// Events that travel together from one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvents {
    /// [`JOB_EVENTS_VERSION`].
    pub v: u32,
    /// Which process sends them: a number drawn at its start.
    pub from: u64,
    /// Counts the messages of that process. A gap says that events were lost.
    pub seq: u64,
    /// In the order in which they happened there.
    pub events: Vec<JobEvent>,
}

/// Reads a message of a known version.
///
/// # Errors
/// Its version is newer than `known`, or it is malformed.
pub fn decode<'a, M: Deserialize<'a>>(json: &'a [u8], known: u32) -> Result<M, MessageError> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let Versioned { v: found } = serde_json::from_slice(json)?;
    if found > known {
        return Err(MessageError::FromTheFuture { found, known });
    }
    Ok(serde_json::from_slice(json)?)
}
