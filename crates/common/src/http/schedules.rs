//! Schedules: sent and told.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::JobRequest;
use crate::{
    JobId, QueueName, Timestamp, TypeName,
    job::{Backoff, Concurrency, Priority, RateLimit},
    schedule::{Cron, JobTemplate, Missed, Overlap, ScheduleName, ScheduleRecord, TimeZone},
};

/// A schedule: the body of `PUT /schedules/{name}`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ScheduleRequest {
    /// When it fires: five fields (minute, hour, day of the month, month, day of the week), or six with seconds first.
    pub cron: String,
    /// By whose clock: a name of the IANA database; `UTC` when it is left out.
    pub time_zone: Option<String>,
    /// What it makes each time.
    pub job: TemplateRequest,
    /// What becomes of instants at which no scheduler was there to fire; `fire_once` when it is left out.
    pub missed: Option<Missed>,
    /// What becomes of an instant while the last job has not ended; `allow` when it is left out.
    pub overlap: Option<Overlap>,
}

/// What every job of a schedule is made of. The fields are those of a submission.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TemplateRequest {
    /// A job type that `GET /job-types` lists.
    #[serde(rename = "type")]
    pub job_type: String,
    /// What the type's schema says, at most 64 KiB; `{}` when it is left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub payload: Option<Box<RawValue>>,
    /// A declared queue; `default` when it is left out.
    pub queue: Option<String>,
    /// `normal` when it is left out.
    pub priority: Option<Priority>,
    /// Attempts before it is a dead letter; what the type's default is now, when it is left out.
    pub max_attempts: Option<u32>,
    /// The wait between attempts; what the type's default is now, when it is left out.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take, in milliseconds; what the type's default is now, when it is left out.
    pub timeout_ms: Option<u64>,
    /// Words to find it by, beside `schedule:NAME`, which every one has.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Not more than so many jobs of the key at once.
    pub concurrency: Option<Concurrency>,
    /// Not more than so many starts of the key in a time.
    pub rate_limit: Option<RateLimit>,
}

/// A schedule as people see it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    /// Its name.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: ScheduleName,
    /// When it fires.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub cron: Cron,
    /// By whose clock.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub time_zone: TimeZone,
    /// What it makes each time.
    pub job: TemplateView,
    /// What becomes of missed instants.
    pub missed: Missed,
    /// What becomes of an instant while the last job has not ended.
    pub overlap: Overlap,
    /// Whether it is paused: it does not fire.
    pub paused: bool,
    /// The next five times at which it fires; none while it is paused.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub next: Vec<Timestamp>,
    /// The job that it made last, which may have been erased since.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub last_job_id: Option<JobId>,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When somebody last changed it.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
}

/// What every job of a schedule is made of, with what its type left open filled in.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateView {
    /// Which handler runs it.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub job_type: TypeName,
    /// To the letter as it was sent.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub payload: Box<RawValue>,
    /// Where it waits.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub queue: QueueName,
    /// In which band.
    pub priority: Priority,
    /// How many attempts it may have.
    pub max_attempts: u32,
    /// How long to wait between them.
    pub backoff: Backoff,
    /// How long one may take, in milliseconds.
    pub timeout_ms: u64,
    /// Words to find it by, beside the schedule's own.
    pub tags: Vec<String>,
    /// The concurrency key of its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// The rate limit of its jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// A page of schedules.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulePage {
    /// By name.
    pub items: Vec<ScheduleView>,
    /// Where the next page begins; `null` on the last.
    pub next_cursor: Option<String>,
}

impl From<TemplateRequest> for JobRequest {
    /// The submission that the template stands for, at whatever time.
    fn from(template: TemplateRequest) -> Self {
        Self {
            job_type: template.job_type,
            payload: template.payload,
            queue: template.queue,
            priority: template.priority,
            run_at: None,
            delay_ms: None,
            max_attempts: template.max_attempts,
            backoff: template.backoff,
            timeout_ms: template.timeout_ms,
            deadline: None,
            tags: template.tags,
            unique: None,
            debounce: None,
            concurrency: template.concurrency,
            rate_limit: template.rate_limit,
        }
    }
}

impl ScheduleView {
    /// The view of a record, with the times at which it fires next.
    ///
    /// # Errors
    /// Its payload is no JSON.
    pub fn of(record: ScheduleRecord, next: Vec<Timestamp>) -> serde_json::Result<Self> {
        Ok(Self {
            name: record.name,
            cron: record.cron,
            time_zone: record.time_zone,
            job: TemplateView::of(record.template)?,
            missed: record.missed,
            overlap: record.overlap,
            paused: record.paused,
            next,
            last_job_id: record.last_job,
            created_at: record.created_at,
            updated_at: record.updated_at,
        })
    }
}

impl TemplateView {
    fn of(template: JobTemplate) -> serde_json::Result<Self> {
        Ok(Self {
            job_type: template.job_type,
            payload: RawValue::from_string(template.payload)?,
            queue: template.queue,
            priority: template.priority,
            max_attempts: template.max_attempts,
            backoff: template.backoff,
            timeout_ms: template.timeout_ms,
            tags: template.tags,
            concurrency: template.gates.concurrency,
            rate_limit: template.gates.rate_limit,
        })
    }
}
