//! Small records that processes leave in the store for each other.

use serde::{Deserialize, Serialize};

use crate::{
    QueueName, Timestamp, TypeName, WorkerId,
    job::{Backoff, Priority},
};

/// One queue of the broker: a declared queue and a band of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BandKey {
    /// The declared queue.
    pub queue: QueueName,
    /// The band.
    pub priority: Priority,
}

/// A declared queue. Queues are shared by all tenants; their lanes are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// Its name.
    pub name: QueueName,
    /// Nobody publishes to it and nobody takes from it.
    pub paused: bool,
    /// How many of its jobs may start in a time, over all workers; as many as can, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<QueueRate>,
    /// When it was declared.
    pub created_at: Timestamp,
}

/// Not more than so many starts in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueRate {
    /// How many starts, 1 to a million; so many may also come at once.
    pub limit: u32,
    /// In how many milliseconds, 1 to a week.
    pub per_ms: u64,
}

/// What a worker says of itself, every few seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Fresh at each start.
    pub id: WorkerId,
    /// The job types it can run.
    pub types: Vec<TypeName>,
    /// The queues it takes from.
    pub queues: Vec<QueueName>,
    /// How many jobs it can run at once.
    pub slots: u32,
    /// How many it runs.
    pub running: u32,
    /// Since when.
    pub started_at: Timestamp,
    /// When it last said so.
    pub last_seen: Timestamp,
}

/// How a job of a type runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Keeps a processor busy: runs on a pool of threads of its own.
    Cpu,
    /// Mostly waits: runs among thousands.
    Io,
}

/// What a job has when its submission says nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TypeDefaults {
    /// Attempts before it is a dead letter.
    pub max_attempts: u32,
    /// The wait between attempts.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for TypeDefaults {
    fn default() -> Self {
        Self { max_attempts: 3, backoff: Backoff::default(), timeout_ms: 60 * 60 * 1_000 }
    }
}

/// What a worker announces of a job type, so that the API can check a payload before it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeRecord {
    /// Its name.
    pub name: TypeName,
    /// What it does, in a sentence.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the payload.
    pub payload_schema: serde_json::Value,
    /// JSON Schema (draft 2020-12) of the result.
    pub result_schema: serde_json::Value,
    /// How it runs.
    pub class: Class,
    /// Whether the payload's `text` may be sent as a `text/plain` body.
    pub accepts_text: bool,
    /// What a job has when it says nothing else.
    pub defaults: TypeDefaults,
    /// When a worker last announced it.
    pub last_seen: Timestamp,
}

/// Who leads the schedulers, until when, and what it tells the submitters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// The leading scheduler.
    pub holder: WorkerId,
    /// Until when, unless it renews.
    pub until: Timestamp,
    /// Bands with work that was not dispatched yet: a submitter leaves theirs to the leader, so that
    /// newcomers do not overtake.
    pub backlog: Vec<BandKey>,
}
