//! The job: one record that is the atomic unit of everything Gristmill promises.

mod abandoned;
mod backoff;
mod change;
mod decide;
mod gates;
mod history;
mod state;

use serde::{Deserialize, Serialize};

pub use backoff::Backoff;
pub use change::{Change, Guard, Set};
pub use decide::{Failure, Limits};
pub use gates::{
    Concurrency, Debounce, GateKey, Gates, InvalidGateKey, MAX_GATE_KEY, OnConflict, RateLimit, Unique, While,
};
pub use history::{History, HistoryEntry, MAX_ENTRIES, MAX_ERROR_BYTES, What};
pub use state::{Event, IllegalTransition, State, transition};

use crate::{Body, JobId, LeaseId, QueueName, Tenant, Timestamp, TypeName, WorkerId};

/// The primary key of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobKey {
    /// Whose job it is.
    pub tenant: Tenant,
    /// Which job.
    pub id: JobId,
}

/// How urgent a job is among the jobs of its queue. Each is a band of its own: high is served three times as
/// often as low, and no band starves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before the others.
    High,
    /// What a job has when it says nothing.
    #[default]
    Normal,
    /// After the others.
    Low,
}

impl Priority {
    /// Every band, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The place in [`Priority::ALL`].
    #[must_use]
    pub fn band(self) -> usize {
        self as usize
    }
}

/// How far a running job has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// 0 to 100.
    pub percent: u8,
    /// What it is doing, if the handler says.
    pub message: Option<String>,
}

/// Why the last attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    /// A stable snake_case word: the handler's own, or `timeout`, `panic`, `worker_lost`, `invalid_payload`,
    /// `deadline_exceeded`, `result_too_large`.
    pub code: String,
    /// What happened, for people; at most 4 KiB.
    pub message: String,
    /// Which attempt it was.
    pub attempt: u32,
}

/// A job as the store keeps it, without its bodies.
///
/// `claims` counts every claim there was and never falls; `attempt` counts the charged ones and may be given
/// back. `wake_at` is the job's one clock: what it means depends on the state, see [`State`].
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Whose, and which.
    pub key: JobKey,
    /// Which handler runs it.
    pub job_type: TypeName,
    /// Where it waits.
    pub queue: QueueName,
    /// In which band of the queue.
    pub priority: Priority,
    /// Where it stands.
    pub state: State,
    /// When a duty must look at it again.
    pub wake_at: Timestamp,
    /// Charged attempts so far.
    pub attempt: u32,
    /// How many charged attempts it may have.
    pub max_attempts: u32,
    /// Claims so far, charged or not.
    pub claims: u32,
    /// How often its lease ran out, or its worker died.
    pub rescues: u32,
    /// How often the broker was rung for it since it was queued.
    pub rings: u32,
    /// The claim that it runs under; `None` unless it is running.
    pub lease: Option<LeaseId>,
    /// Who runs it, or ran it last.
    pub worker: Option<WorkerId>,
    /// The lease whose settle ended its last run: answers "was my lost write applied?".
    pub settled_by: Option<LeaseId>,
    /// Somebody asked a running job to stop.
    pub cancel_requested: bool,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// When it is too late to start.
    pub deadline: Option<Timestamp>,
    /// When it was to run, if it was sent with a time.
    pub run_at: Option<Timestamp>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its terminal state.
    pub finished_at: Option<Timestamp>,
    /// When it failed for good: set on dead letters only.
    pub failed_at: Option<Timestamp>,
    /// How far it has come.
    pub progress: Progress,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// The W3C `traceparent` of the request that made it.
    pub trace: Option<String>,
    /// SHA-256 of the request, if it came with an idempotency key.
    pub fingerprint: Option<[u8; 32]>,
    /// What it has to pass beside others that share a key. Never changed after the insert; `None` for most jobs.
    pub gates: Option<Box<Gates>>,
    /// Rises with every change.
    pub version: u64,
    /// What happened to it.
    pub history: History,
}

/// A job about to be stored for the first time, with its bodies.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The record.
    pub job: Job,
    /// The JSON payload.
    pub payload: Body,
    /// The text that came as the request's body.
    pub text: Option<Body>,
}

impl Job {
    /// A job as it is when it is accepted and may run at once, with nothing said but its type.
    #[must_use]
    pub fn accepted(key: JobKey, job_type: TypeName, now: Timestamp) -> Self {
        let mut history = History::default();
        history.push(HistoryEntry::new(now, What::Created));
        Self {
            key,
            job_type,
            queue: QueueName::default(),
            priority: Priority::default(),
            state: State::Queued,
            wake_at: now,
            attempt: 0,
            max_attempts: 1,
            claims: 0,
            rescues: 0,
            rings: 0,
            lease: None,
            worker: None,
            settled_by: None,
            cancel_requested: false,
            backoff: Backoff::default(),
            timeout_ms: u64::MAX,
            deadline: None,
            run_at: None,
            created_at: now,
            started_at: None,
            finished_at: None,
            failed_at: None,
            progress: Progress::default(),
            error: None,
            tags: Vec::new(),
            trace: None,
            fingerprint: None,
            gates: None,
            version: 1,
            history,
        }
    }

    /// The lane in which it waits while it is queued.
    #[must_use]
    pub fn lane(&self) -> Lane {
        Lane { queue: self.queue.clone(), priority: self.priority, tenant: self.key.tenant.clone() }
    }
}

/// Where queued jobs wait in line: oldest first within a lane, lane by lane in turn.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The queue.
    pub queue: QueueName,
    /// The band.
    pub priority: Priority,
    /// The tenant.
    pub tenant: Tenant,
}

impl Lane {
    /// The lane as the stores' index keeps it: `queue/band/tenant`. Names hold no slash.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}/{}/{}", self.queue, self.priority.band(), self.tenant)
    }

    /// Reads what [`Lane::to_text`] wrote.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let queue = parts.next()?.parse().ok()?;
        let band: usize = parts.next()?.parse().ok()?;
        let tenant = parts.next()?.parse().ok()?;
        Some(Self { queue, priority: *Priority::ALL.get(band)?, tenant })
    }
}
