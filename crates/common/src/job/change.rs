//! A change of a job: one compare-and-set, decided here and carried out by any store.
//!
//! Deciding and carrying out are apart, so that a job may have changed in between: the guard then no longer
//! holds, nothing is written, and whoever decided reads again and decides again.

use crate::{
    Body, LeaseId, Timestamp, WorkerId,
    job::{HistoryEntry, Job, JobError, JobKey, Progress, State},
};

/// What must still be true of the job for the change to be written. A store checks it and writes in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// It is in this state.
    pub state: State,
    /// It runs under this lease.
    pub lease: Option<LeaseId>,
    /// It was claimed so often.
    pub claims: Option<u32>,
    /// The broker was rung so often for it.
    pub rings: Option<u32>,
    /// A stop was, or was not, asked for.
    pub cancel_requested: Option<bool>,
    /// Its clock stands here.
    pub wake_at: Option<Timestamp>,
}

impl Guard {
    /// Holds for any job in this state.
    #[must_use]
    pub fn state(state: State) -> Self {
        Self { state, lease: None, claims: None, rings: None, cancel_requested: None, wake_at: None }
    }

    /// Whether it holds for this job.
    #[must_use]
    pub fn holds(&self, job: &Job) -> bool {
        self.state == job.state
            && self.lease.is_none_or(|lease| job.lease == Some(lease))
            && self.claims.is_none_or(|claims| job.claims == claims)
            && self.rings.is_none_or(|rings| job.rings == rings)
            && self.cancel_requested.is_none_or(|asked| job.cancel_requested == asked)
            && self.wake_at.is_none_or(|wake_at| job.wake_at == wake_at)
    }
}

/// One field's new value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each is the field of `Job` of the same name")]
pub enum Set {
    State(State),
    WakeAt(Timestamp),
    Attempt(u32),
    MaxAttempts(u32),
    Claims(u32),
    Rescues(u32),
    Rings(u32),
    Lease(Option<LeaseId>),
    Worker(Option<WorkerId>),
    SettledBy(Option<LeaseId>),
    CancelRequested(bool),
    Deadline(Option<Timestamp>),
    StartedAt(Option<Timestamp>),
    FinishedAt(Option<Timestamp>),
    FailedAt(Option<Timestamp>),
    Progress(Progress),
    Error(Option<JobError>),
}

/// One compare-and-set on one job. The version rises by one with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which job.
    pub key: JobKey,
    /// What must still be true.
    pub guard: Guard,
    /// What becomes of the fields; no field twice.
    pub sets: Vec<Set>,
    /// The payload that takes the place of the one it has; inline.
    pub payload: Option<Body>,
    /// The result to store with it.
    pub result: Option<Body>,
    /// The line that it adds to the history.
    pub entry: Option<HistoryEntry>,
}

impl Change {
    /// The state that the job has afterwards.
    #[must_use]
    pub fn next_state(&self) -> State {
        self.sets
            .iter()
            .find_map(|set| if let Set::State(state) = set { Some(*state) } else { None })
            .unwrap_or(self.guard.state)
    }

    /// Carries the change out on a record, if its guard holds; says whether it did. This is what a store's
    /// write means: SQLite's store runs it between its read and its write, the model runs it as it is, and
    /// the conformance suite holds every other store to it.
    #[must_use]
    pub fn apply(self, job: &mut Job) -> bool {
        if !self.guard.holds(job) {
            return false;
        }
        for set in self.sets {
            match set {
                Set::State(state) => job.state = state,
                Set::WakeAt(at) => job.wake_at = at,
                Set::Attempt(attempt) => job.attempt = attempt,
                Set::MaxAttempts(most) => job.max_attempts = most,
                Set::Claims(claims) => job.claims = claims,
                Set::Rescues(rescues) => job.rescues = rescues,
                Set::Rings(rings) => job.rings = rings,
                Set::Lease(lease) => job.lease = lease,
                Set::Worker(worker) => job.worker = worker,
                Set::SettledBy(lease) => job.settled_by = lease,
                Set::CancelRequested(asked) => job.cancel_requested = asked,
                Set::Deadline(at) => job.deadline = at,
                Set::StartedAt(at) => job.started_at = at,
                Set::FinishedAt(at) => job.finished_at = at,
                Set::FailedAt(at) => job.failed_at = at,
                Set::Progress(progress) => job.progress = progress,
                Set::Error(error) => job.error = error,
            }
        }
        if let Some(entry) = self.entry {
            job.history.push(entry);
        }
        job.version += 1;
        true
    }
}
