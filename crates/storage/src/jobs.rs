//! What a backend offers for jobs.

use async_trait::async_trait;
use gristmill_common::{
    Body, JobId, LeaseId, Part, QueueName, State, Tenant, Timestamp, TypeName, WorkerId,
    http::LogLine,
    job::{Change, Job, JobKey, Lane, NewJob, Priority},
};

use crate::StoreError;

/// Jobs: every change is one compare-and-set on one record, and each call is one round trip however many jobs
/// it is about. An answer means that what it tells is durable.
///
/// Concurrent calls are free to share a write: that is the backend's way to throughput.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// Stores new jobs, each on its own: one outcome for each, in the order given. A job whose key is taken is
    /// not stored, and the one that has the key is returned.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which jobs were stored; every other error means none was.
    async fn insert(&self, jobs: Vec<NewJob>) -> Result<Vec<Inserted>, StoreError>;

    /// Takes those of the jobs that are queued, for one worker, under one lease, and reads back which it got:
    /// exactly one of any number of racing claimers gets a job. Each is changed as `Job::claim` says.
    /// The rest are left alone and left out.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which jobs were claimed: [`JobStore::held`] tells.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError>;

    /// Which jobs run under this lease: resolves an ambiguous reply to a claim.
    ///
    /// # Errors
    /// The store could not be read.
    async fn held(&self, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, StoreError>;

    /// Moves the lease end of those that still run under the lease given to `until`, in one write, and tells for
    /// each how it stands. A lease's end is never moved back: a heartbeat that was held up and overtaken by the
    /// next must not end the lease before its worker expects it.
    ///
    /// # Errors
    /// The store could not be written.
    async fn renew(&self, held: &[(JobKey, LeaseId)], until: Timestamp) -> Result<Vec<Renewal>, StoreError>;

    /// Carries out changes, each on its own; says for each whether its guard held. The changed job is returned
    /// as it is afterwards. The bodies that a change brings are written with it or not at all; a blob whose place is
    /// taken goes with its job, not before.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which changes were made: read again.
    async fn apply(&self, changes: Vec<Change>) -> Result<Vec<Option<Job>>, StoreError>;

    /// A job with its result, if there is one.
    ///
    /// # Errors
    /// The store could not be read.
    async fn get(&self, key: &JobKey) -> Result<Option<Found>, StoreError>;

    /// These jobs without their bodies, in the order of their keys as given; `None` for one that is not there. What is
    /// told is durable. A job that a newer build has written is told as far as it can be read, and no change of it will
    /// be made.
    ///
    /// # Errors
    /// The store could not be read.
    async fn jobs(&self, keys: &[JobKey]) -> Result<Vec<Option<Job>>, StoreError>;

    /// One of a job's bodies.
    ///
    /// # Errors
    /// The store could not be read.
    async fn body(&self, key: &JobKey, part: Part) -> Result<Option<Body>, StoreError>;

    /// Those of the jobs that are still queued: for marking rings.
    ///
    /// # Errors
    /// The store could not be read.
    async fn waiting(&self, keys: &[JobKey]) -> Result<Vec<Job>, StoreError>;

    /// A page of a tenant's jobs. At most `scan_limit` index entries are read, so a page may be short, or empty,
    /// and yet not be the last.
    ///
    /// # Errors
    /// The store could not be read.
    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError>;

    /// Jobs whose `wake_at` has passed, the longest ago first: one bounded range of the duties' index.
    ///
    /// # Errors
    /// The store could not be read.
    async fn due(&self, scan: &DueScan) -> Result<Vec<Job>, StoreError>;

    /// How many jobs of a state other than queued have their clock at this time or later: one range of the
    /// duties' index, as long as the answer.
    ///
    /// # Errors
    /// The store could not be read.
    async fn count_from(&self, state: State, from: Timestamp) -> Result<u64, StoreError>;

    /// Scheduled and queued jobs whose deadline has passed, the longest ago first.
    ///
    /// # Errors
    /// The store could not be read.
    async fn overdue(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// The lanes in which queued jobs wait, in order: one seek for each.
    ///
    /// # Errors
    /// The store could not be read.
    async fn lanes(&self) -> Result<Vec<Lane>, StoreError>;

    /// Erases jobs with all that belongs to them, bodies, blobs and logs, if they still are as the removal
    /// says; says for each whether it was erased.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which were erased: do it again.
    async fn remove(&self, removals: &[Removal]) -> Result<Vec<bool>, StoreError>;

    /// Adds lines to the logs of jobs. A job keeps its first 1,000 lines; lines for a job that is gone are
    /// dropped.
    ///
    /// # Errors
    /// The store could not be written.
    async fn append_logs(&self, lines: Vec<(JobKey, LogLine)>) -> Result<(), StoreError>;

    /// A job's log, oldest first.
    ///
    /// # Errors
    /// The store could not be read.
    async fn logs(&self, key: &JobKey) -> Result<Vec<LogLine>, StoreError>;

    /// How many jobs there are in each queue and state; of every tenant when none is named.
    ///
    /// # Errors
    /// The store could not be read.
    async fn counts(&self, tenant: Option<&Tenant>) -> Result<Vec<QueueCounts>, StoreError>;

    /// When the longest-waiting queued job of a queue was accepted, among the 10,000 that come first in the
    /// duties' index.
    ///
    /// # Errors
    /// The store could not be read.
    async fn oldest_waiting(&self, queue: &QueueName) -> Result<Option<Timestamp>, StoreError>;
}

/// What became of a job that was to be stored.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "moved once, from the store to the caller")]
pub enum Inserted {
    /// It is stored.
    Created,
    /// Its key was taken, by this job.
    Exists(Job),
}

/// A claim of several jobs.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The jobs.
    pub keys: Vec<JobKey>,
    /// Made by the claimer, for this claim alone.
    pub lease: LeaseId,
    /// Who claims.
    pub worker: WorkerId,
    /// The time of the claim.
    pub now: Timestamp,
    /// When the lease ends, unless it is renewed.
    pub until: Timestamp,
    /// What it may take.
    pub whom: Whom,
}

/// Which jobs a claim may take: a job that was rescued may have cost its worker, so it is claimed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Only jobs never rescued: for a batch.
    NeverRescued,
    /// Any job: for one alone.
    Any,
}

/// A claimed job, ready to run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The record, after the claim.
    pub job: Job,
    /// Its payload.
    pub payload: Body,
    /// The text that came as the request's body.
    pub text: Option<Body>,
}

/// How a lease stands after a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It holds, and nobody asked the job to stop.
    Held,
    /// It holds, and somebody asked the job to stop.
    StopRequested,
    /// It is gone: somebody else may be running the job.
    Lost,
}

/// A job and its result.
#[derive(Debug, Clone)]
pub struct Found {
    /// The record.
    pub job: Job,
    /// The result, if it has one.
    pub result: Option<Body>,
}

/// Which jobs a list shows. Every field that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; any when empty.
    pub states: Vec<State>,
    /// Of this type.
    pub job_type: Option<TypeName>,
    /// In this queue.
    pub queue: Option<QueueName>,
    /// In this band.
    pub priority: Option<Priority>,
    /// With this tag.
    pub tag: Option<String>,
    /// At this time or later, by the list's own clock (see [`Order`]).
    pub from: Option<Timestamp>,
    /// Before this time, by the list's own clock.
    pub before: Option<Timestamp>,
}

/// The index that a list follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By when they were accepted, the newest first.
    NewestFirst,
    /// By when they were accepted, the oldest first.
    OldestFirst,
    /// Dead letters alone, by when they failed, the newest first.
    FailedNewestFirst,
    /// Dead letters alone, by when they failed, the oldest first.
    FailedOldestFirst,
}

/// A place in a list: just after this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The entry's time, by the list's clock.
    pub at: Timestamp,
    /// The entry's id.
    pub id: JobId,
}

/// A question for a page.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Whose jobs.
    pub tenant: Tenant,
    /// Which of them.
    pub filter: JobFilter,
    /// In which order.
    pub order: Order,
    /// After which entry; from the beginning without one.
    pub after: Option<Position>,
    /// At most so many jobs.
    pub limit: usize,
    /// At most so many index entries.
    pub scan_limit: usize,
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<Position>,
}

/// A range of the duties' index, `(state, lane, wake_at)`.
#[derive(Debug, Clone)]
pub struct DueScan {
    /// In which state.
    pub state: State,
    /// For queued jobs: in which lane. A queued job is found in its lane only, every other job in none.
    pub lane: Option<Lane>,
    /// Whose clock stands at this time or earlier.
    pub until: Timestamp,
    /// After this entry of the index; from the beginning without one.
    pub after: Option<Position>,
    /// At most so many.
    pub limit: usize,
}

/// A job to erase, if it still is as it was read.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Which.
    pub key: JobKey,
    /// In this state.
    pub state: State,
    /// With its clock here.
    pub wake_at: Timestamp,
}

/// The jobs of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueCounts {
    /// The queue.
    pub queue: QueueName,
    /// The state.
    pub state: State,
    /// How many.
    pub count: u64,
}
