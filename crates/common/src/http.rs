//! The bodies of the HTTP interface, shared by the service that writes them and the programs that read them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    Class, JobId, QueueName, State, Timestamp, TypeName, WorkerId,
    job::{Backoff, HistoryEntry, Job, JobError, Priority, Progress},
    record::TypeDefaults,
};

/// A job to be run: the body of `POST /jobs`, and each item of a batch.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A job type that `GET /job-types` lists.
    #[serde(rename = "type")]
    pub job_type: String,
    /// What the type's schema says; `{}` when it is left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<Box<RawValue>>,
    /// A declared queue; `default` when it is left out.
    pub queue: Option<String>,
    /// `normal` when it is left out.
    pub priority: Option<Priority>,
    /// Not before this time. Not together with `delay_ms`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub run_at: Option<Timestamp>,
    /// Not before so many milliseconds have passed.
    pub delay_ms: Option<u64>,
    /// Attempts before it is a dead letter, 1 to 1,000; the type's default when it is left out.
    pub max_attempts: Option<u32>,
    /// The wait between attempts; the type's default when it is left out.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take, in milliseconds; the type's default when it is left out.
    pub timeout_ms: Option<u64>,
    /// After this time it is too late to start.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub deadline: Option<Timestamp>,
    /// Words to find it by: at most 16 of 64 bytes each.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A job as people see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// `job_` and 26 characters.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: JobId,
    /// Which handler runs it.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub job_type: TypeName,
    /// Where it stands.
    pub state: State,
    /// Where it waits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub queue: QueueName,
    /// In which band.
    pub priority: Priority,
    /// Charged attempts so far.
    pub attempt: u32,
    /// How many it may have.
    pub max_attempts: u32,
    /// How far it has come.
    pub progress: Progress,
    /// Somebody asked it to stop while it ran.
    pub cancel_requested: bool,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was to run, if it was sent with a time.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub run_at: Option<Timestamp>,
    /// When its last attempt started.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// When it reached its terminal state.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub finished_at: Option<Timestamp>,
    /// After this time it is too late to start.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub deadline: Option<Timestamp>,
    /// The result, once it has succeeded. Left out of lists, and when it is over 64 KiB: then
    /// `GET /jobs/{id}/result` has it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub result: Option<Box<RawValue>>,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Rises with every change; the `ETag` is made of it.
    pub version: u64,
    /// The payload, with `?include=payload`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<Box<RawValue>>,
}

impl JobView {
    /// The view of a record, without its bodies.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            id: job.key.id,
            job_type: job.job_type.clone(),
            state: job.state,
            queue: job.queue.clone(),
            priority: job.priority,
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            progress: job.progress.clone(),
            cancel_requested: job.cancel_requested,
            created_at: job.created_at,
            run_at: job.run_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            deadline: job.deadline,
            result: None,
            error: job.error.clone(),
            tags: job.tags.clone(),
            version: job.version,
            payload: None,
        }
    }
}

/// A page of jobs.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobPage {
    /// The jobs, in the order asked for. May be fewer than the limit, even none, while there are more pages.
    pub items: Vec<JobView>,
    /// Where the next page begins; `null` on the last.
    pub next_cursor: Option<String>,
}

/// The body of `POST /jobs/batch`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// At most 1,000 jobs.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<JobRequest>))]
    pub jobs: Vec<Box<RawValue>>,
}

/// The answer to a batch: an outcome for each item, in the order sent.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResponse {
    /// The outcomes.
    pub items: Vec<BatchItem>,
}

/// What became of one item of a batch: `job` when its status is 202, else `problem`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchItem {
    /// The status that the item alone would have got.
    pub status: u16,
    /// The job, if it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// Why it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// An error, in the form of RFC 9457.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable snake_case word from the catalogue in `API.md`.
    pub code: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Finds the request in the logs.
    pub request_id: String,
    /// The fields at fault, for a bad body or query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where it is: a JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    /// The error at this pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// What happened to a job.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryView {
    /// Oldest first: the first entry and the last 63.
    pub items: Vec<HistoryEntry>,
    /// How many entries between the first and the second were left out.
    pub omitted: u32,
}

/// What a job's handler logged.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogsView {
    /// Oldest first, at most 1,000: later lines are not kept.
    pub items: Vec<LogLine>,
}

/// One line that a handler logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// In which attempt.
    pub attempt: u32,
    /// What; at most 4 KiB.
    pub message: String,
}

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
    /// Jobs that may run as soon as a worker takes them.
    pub depth: u64,
    /// Jobs that run.
    pub running: u64,
    /// When the longest-waiting queued job was accepted; exact up to 10,000 waiting jobs.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub oldest_waiting_since: Option<Timestamp>,
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
