//! The schedule: one record, and the jobs that it makes.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Body, InvalidName, JobId, QueueName, ScheduleId, State, Tenant, Timestamp, TypeName,
    job::{Backoff, Concurrency, Gates, Job, JobKey, NewJob, Priority},
    limits::Version,
    schedule::{Cron, TimeZone, Turn},
};

/// The jobs of a schedule have a tag of this and its name.
pub const TAG_PREFIX: &str = "schedule:";

/// A schedule's name, unique within its tenant. It follows the rule of queues' names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleName(QueueName);

/// What becomes of instants at which nobody was there to fire, or which were older than the grace when somebody was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing: they are counted.
    Skip,
    /// The last of them is fired, and stands for all.
    #[default]
    FireOnce,
    /// Each is fired, as far as the last 100.
    FireAll,
}

/// What becomes of an instant that comes while the schedule's last job has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It fires, and the two may run side by side.
    #[default]
    Allow,
    /// It does not fire, and is counted. Where two leaders fire at once, or one dies before it has written what it
    /// fired, it may fire all the same: then its job waits until the last one has ended.
    Skip,
    /// It fires, and the last job is cancelled. The new one starts when that has ended.
    Replace,
}

/// What every job of a schedule is made of: a submission with all that its type leaves open filled in, because
/// the scheduler that fires knows no types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobTemplate {
    /// Which handler runs it.
    #[serde(rename = "type")]
    pub job_type: TypeName,
    /// JSON, to the letter as it was sent; at most [`INLINE_LIMIT`](crate::INLINE_LIMIT) bytes.
    pub payload: String,
    /// Where it waits.
    pub queue: QueueName,
    /// In which band of the queue.
    pub priority: Priority,
    /// How many charged attempts it may have.
    pub max_attempts: u32,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// Words to find it by, beside the schedule's own.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What it has to pass before it runs. A schedule asks for no unique key and is never put off: whoever accepts
    /// it refuses `unique` and `debounce`, and `overlap` is there in their stead.
    #[serde(default)]
    pub gates: Gates,
}

/// A schedule as the store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRecord {
    /// The version of the record's form.
    pub v: Version<1>,
    /// Which schedule: a new one when the name is given again after a deletion, so that the new one's jobs are not
    /// taken for the old one's.
    pub id: ScheduleId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What people call it.
    pub name: ScheduleName,
    /// When it fires.
    pub cron: Cron,
    /// By whose clock.
    pub time_zone: TimeZone,
    /// What it makes.
    pub template: JobTemplate,
    /// What becomes of missed instants.
    pub missed: Missed,
    /// What becomes of instants that come too soon.
    pub overlap: Overlap,
    /// It does not fire.
    pub paused: bool,
    /// Every instant up to here has been seen to; none after it.
    pub fired_through: Timestamp,
    /// The job that it made last.
    pub last_job: Option<JobId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When somebody last changed it. Firing does not.
    pub updated_at: Timestamp,
}

impl ScheduleRecord {
    /// The job of one instant. Its id says which instant of which schedule it is, so a store takes it once only,
    /// whoever fires and however often.
    #[must_use]
    pub fn job(&self, instant: Timestamp, now: Timestamp) -> NewJob {
        let template = &self.template;
        let key = JobKey { tenant: self.tenant.clone(), id: JobId::from_schedule(self.id, instant) };
        let gates = self.gates();
        let own_tag = format!("{TAG_PREFIX}{}", self.name);
        let job = Job {
            queue: template.queue.clone(),
            priority: template.priority,
            max_attempts: template.max_attempts,
            backoff: template.backoff,
            timeout_ms: template.timeout_ms,
            run_at: Some(instant),
            tags: template.tags.iter().cloned().chain([own_tag]).collect(),
            gates: (!gates.is_open()).then(|| Box::new(gates)),
            ..Job::accepted(key, template.job_type.clone(), now)
        };
        NewJob { job, payload: Body::Inline(Bytes::from(template.payload.clone())), text: None }
    }

    /// What to do at an instant, given the state of its last job, or `None` if that is not there.
    #[must_use]
    pub fn turn(&self, last_job: Option<State>) -> Turn {
        match self.overlap {
            _ if last_job.is_none_or(State::is_terminal) => Turn::Fire,
            Overlap::Allow => Turn::Fire,
            Overlap::Skip => Turn::Skip,
            Overlap::Replace => Turn::Replace,
        }
    }

    /// Stops firing.
    pub fn pause(&mut self, now: Timestamp) {
        (self.paused, self.updated_at) = (true, now);
    }

    /// Fires again from now on. What came during the pause was not missed.
    pub fn resume(&mut self, now: Timestamp) {
        if self.paused {
            (self.paused, self.updated_at) = (false, now);
            self.fired_through = self.fired_through.max(now);
        }
    }

    /// The record that takes this one's place when somebody sends the schedule anew: the same schedule, and as
    /// paused as it was. It fires from its own beginning on, or goes on where the old one stood if it fires at the
    /// same times.
    #[must_use]
    pub fn replaced_by(&self, new: Self) -> Self {
        let same_times = self.cron == new.cron && self.time_zone == new.time_zone;
        Self {
            id: self.id,
            paused: self.paused,
            fired_through: if same_times { self.fired_through } else { new.fired_through },
            last_job: self.last_job,
            created_at: self.created_at,
            ..new
        }
    }

    /// The gates of its jobs. Where they must not overlap, each waits until the one before has ended.
    fn gates(&self) -> Gates {
        let mut gates = self.template.gates.clone();
        if self.overlap != Overlap::Allow && gates.concurrency.is_none() {
            let key = format!("{TAG_PREFIX}{}", self.id).parse();
            gates.concurrency = key.ok().map(|key| Concurrency { key, limit: 1 });
        }
        gates
    }
}

impl ScheduleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for ScheduleName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

crate::serde_as_text!(ScheduleName);
