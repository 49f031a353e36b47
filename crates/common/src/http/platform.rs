//! What there is: workers, job types, queues, and how it goes.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    Class, QueueName, State, Timestamp, TypeName, WorkerId,
    record::{QueueRate, TypeDefaults},
};

/// A worker, as it last described itself.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkerView {
    /// Fresh at each start.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: WorkerId,
    /// The job types it can run.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub types: Vec<TypeName>,
    /// The queues it takes from.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub queues: Vec<QueueName>,
    /// How many jobs it can run at once.
    pub slots: u32,
    /// How many it runs.
    pub running: u32,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Timestamp,
    /// When it last said so.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_seen: Timestamp,
}

/// A job type.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TypeView {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: TypeName,
    /// What it does.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the payload.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload_schema: serde_json::Value,
    /// JSON Schema (draft 2020-12) of the result.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub result_schema: serde_json::Value,
    /// How it runs.
    pub class: Class,
    /// Whether the payload's `text` may be sent as a `text/plain` body.
    pub accepts_text: bool,
    /// What a job has when it says nothing else.
    pub defaults: TypeDefaults,
}

/// A queue.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: QueueName,
    /// Whether it is paused: nothing of it is started.
    pub paused: bool,
    /// How many of its jobs may start in a time, over all workers; `null` for as many as can.
    pub rate_limit: Option<QueueRate>,
    /// Jobs that wait for their time, for their next attempt, or for a gate.
    pub scheduled: u64,
    /// Jobs that may run as soon as a worker takes them.
    pub depth: u64,
    /// Jobs that run.
    pub running: u64,
    /// When the longest-waiting queued job was accepted; exact up to 10,000 waiting jobs.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub oldest_waiting_since: Option<Timestamp>,
}

/// The body of `PUT /queues/{queue}`, which may be left out.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueRequest {
    /// How many of its jobs may start in a time; `null` lifts the limit, and it stays as it is when it is left out.
    #[serde(default, deserialize_with = "said")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<QueueRate>))]
    pub rate_limit: Option<Option<QueueRate>>,
}

/// Tells `null` from what is left out.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// How it goes.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatsView {
    /// Jobs in each state.
    pub counts: Counts,
    /// Jobs that ended in the last 10 seconds, per second.
    pub finished_per_second: f64,
    /// From accepted (or due) to started, over the last jobs that succeeded.
    pub waiting_ms: Option<Quantiles>,
    /// From started to finished, over the last jobs that succeeded.
    pub running_ms: Option<Quantiles>,
}

/// A count for each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[allow(missing_docs, reason = "named after the states")]
pub struct Counts {
    pub scheduled: u64,
    pub queued: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl Counts {
    /// The count of a state.
    pub fn of_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Scheduled => &mut self.scheduled,
            State::Queued => &mut self.queued,
            State::Running => &mut self.running,
            State::Succeeded => &mut self.succeeded,
            State::Failed => &mut self.failed,
            State::Cancelled => &mut self.cancelled,
        }
    }
}

/// Where half, and nearly all, of the measured times lie below. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[allow(missing_docs, reason = "named after the quantile")]
pub struct Quantiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    /// How many jobs were measured: at most the last 1,000.
    pub samples: u64,
}
