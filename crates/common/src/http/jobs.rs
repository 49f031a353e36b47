//! Jobs: handed in, told, listed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Problem;
use crate::{
    JobId, QueueName, State, Timestamp, TypeName,
    job::{Backoff, Concurrency, Debounce, Gates, HistoryEntry, Job, JobError, Priority, Progress, RateLimit, Unique},
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
    /// Not a second job while another holds the key.
    pub unique: Option<Unique>,
    /// Put off by each further submission of the key, whose payload it takes. Not together with `unique`, `run_at` or
    /// `delay_ms`.
    pub debounce: Option<Debounce>,
    /// Not more than so many jobs of the key at once.
    pub concurrency: Option<Concurrency>,
    /// Not more than so many starts of the key in a time.
    pub rate_limit: Option<RateLimit>,
}

impl JobRequest {
    /// What the job has to pass beside others that share a key.
    #[must_use]
    pub fn gates(&self) -> Gates {
        Gates {
            unique: self.unique.clone(),
            debounce: self.debounce.clone(),
            concurrency: self.concurrency.clone(),
            rate_limit: self.rate_limit.clone(),
        }
    }
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
    /// The unique key that it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// The debounced key that it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Debounce>,
    /// The concurrency key that it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The rate limit that it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
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
        let gates = job.gates.as_deref().cloned().unwrap_or_default();
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
            unique: gates.unique,
            debounce: gates.debounce,
            concurrency: gates.concurrency,
            rate_limit: gates.rate_limit,
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
