//! The messages on the broker. Each carries its version, and a golden file pins every version.

use serde::{Deserialize, Serialize};

use crate::{
    JobId, State, Tenant, TypeName,
    job::{Job, JobKey, Priority},
};

/// The version that this build writes, and the newest it reads.
pub const DISPATCH_VERSION: u32 = 1;
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
    /// [`DISPATCH_VERSION`].
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
}

impl Dispatch {
    /// The dispatch of this job as it stands.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            v: DISPATCH_VERSION,
            tenant: job.key.tenant.clone(),
            job_id: job.key.id,
            job_type: job.job_type.clone(),
            claims: job.claims,
            priority: job.priority,
            trace: job.trace.clone(),
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
