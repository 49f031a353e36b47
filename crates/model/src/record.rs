//! The part of a job's record that the protocol is about, small enough to be hashed a million times. Decisions
//! are the product's own: a record becomes a real `Job`, decides, and is read back from it.

use std::{sync::LazyLock, time::Duration};

use gristmill_common::{
    Body, JobId, LeaseId, State, Timestamp, WorkerId,
    job::{Backoff, Change, Failure, History, IllegalTransition, Job, JobKey, Limits},
};

/// The model's time is counted in minutes: the first wait after a ring.
pub(crate) const TICK: Duration = Duration::from_secs(60);
/// How long a lease lasts, in ticks.
pub(crate) const LEASE: u8 = 1;
/// How long a job waits at most for a gate, in ticks.
const PARKED: u8 = 2;
/// How long a debounced job waits for another submission, in ticks.
const WAIT: u8 = 1;
/// How often a job that was claimed alone may be rescued before it is a dead letter.
pub(crate) const MAX_RESCUES: u32 = 1;

/// Whoever claims.
pub(crate) fn worker() -> WorkerId {
    WorkerId::from_bytes([1; 16])
}

/// Which of the two jobs.
pub(crate) type JobIndex = usize;
/// What a decision answers.
pub(crate) type Decision = Result<Change, IllegalTransition>;

/// Names a claim. Only equality means anything, so the model numbers them afresh in every state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Lease(pub(crate) u8);

/// How a run ended, as its worker sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Outcome {
    Succeed,
    Fail,
    Release,
}

/// What the protocol looks at in a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) wake_at: u8,
    pub(crate) attempt: u8,
    pub(crate) max_attempts: u8,
    pub(crate) claims: u8,
    pub(crate) rescues: u8,
    pub(crate) rings: u8,
    pub(crate) lease: Option<Lease>,
    pub(crate) settled_by: Option<Lease>,
    pub(crate) cancel_requested: bool,
}

/// The real job of which a record is the interesting part.
static TEMPLATE: LazyLock<[Job; 2]> = LazyLock::new(|| [0, 1].map(template));

static LIMITS: Limits = Limits {
    retention: Duration::from_secs(60 * 60),
    failed_retention: Duration::from_secs(60 * 60),
    cancelled_retention: Duration::from_secs(60 * 60),
    max_rescues: MAX_RESCUES,
};

impl Record {
    /// A job just accepted.
    pub(crate) fn accepted(now: u8, max_attempts: u8) -> Self {
        Self {
            state: State::Queued,
            wake_at: now,
            attempt: 0,
            max_attempts,
            claims: 0,
            rescues: 0,
            rings: 0,
            lease: None,
            settled_by: None,
            cancel_requested: false,
        }
    }

    /// A job just accepted, for a later time.
    pub(crate) fn put_off_from(now: u8, max_attempts: u8) -> Self {
        Self { state: State::Scheduled, wake_at: now + WAIT, ..Self::accepted(now, max_attempts) }
    }

    pub(crate) fn due(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).due(time(now))
    }

    pub(crate) fn ring(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).ring(time(now))
    }

    pub(crate) fn park(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).park(time(now), time(now + PARKED))
    }

    pub(crate) fn put_off(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).put_off(empty(), time(now + WAIT))
    }

    pub(crate) fn expire(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).expire(time(now), &LIMITS)
    }

    pub(crate) fn rescue(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).rescue(time(now), &LIMITS)
    }

    pub(crate) fn cancel(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).cancel(time(now), &LIMITS)
    }

    pub(crate) fn run_again(self, job: JobIndex, now: u8) -> Decision {
        self.job(job).run_again(time(now), 1)
    }

    pub(crate) fn claim(self, job: JobIndex, lease: Lease, now: u8, until: u8) -> Decision {
        self.job(job).claim(lease_id(lease), worker(), time(now), time(until))
    }

    pub(crate) fn settle(self, job: JobIndex, outcome: Outcome, now: u8) -> Decision {
        let (job, now) = (self.job(job), time(now));
        match outcome {
            Outcome::Succeed => job.succeed(empty(), now, &LIMITS),
            Outcome::Fail => {
                let failure =
                    Failure { code: String::new(), message: String::new(), retryable: true, min_delay: Duration::ZERO };
                job.fail(&failure, now, &LIMITS, 0.5)
            }
            Outcome::Release => job.release(now, &LIMITS),
        }
    }

    /// The store's compare-and-set: the record afterwards, if the change's guard held.
    pub(crate) fn apply(self, job: JobIndex, change: Change) -> Option<Self> {
        let mut real = self.job(job);
        change.apply(&mut real).then(|| Self::of(&real))
    }

    /// The real job of which this is the interesting part.
    pub(crate) fn job(self, index: JobIndex) -> Job {
        Job {
            state: self.state,
            wake_at: time(self.wake_at),
            attempt: self.attempt.into(),
            max_attempts: self.max_attempts.into(),
            claims: self.claims.into(),
            rescues: self.rescues.into(),
            rings: self.rings.into(),
            lease: self.lease.map(lease_id),
            settled_by: self.settled_by.map(lease_id),
            cancel_requested: self.cancel_requested,
            ..TEMPLATE[index].clone()
        }
    }

    /// The interesting part of a real job.
    pub(crate) fn of(job: &Job) -> Self {
        let small = |count: u32| u8::try_from(count).expect("the model's bounds keep counts small");
        let lease = |id: LeaseId| Lease(id.as_bytes()[0]);
        Self {
            state: job.state,
            wake_at: u8::try_from(job.wake_at.as_millis() / TICK.as_millis() as i64)
                .expect("the model's time is short"),
            attempt: small(job.attempt),
            max_attempts: small(job.max_attempts),
            claims: small(job.claims),
            rescues: small(job.rescues),
            rings: small(job.rings),
            lease: job.lease.map(lease),
            settled_by: job.settled_by.map(lease),
            cancel_requested: job.cancel_requested,
        }
    }
}

pub(crate) fn time(tick: u8) -> Timestamp {
    Timestamp::from_millis(0) + TICK * u32::from(tick)
}

pub(crate) fn lease_id(lease: Lease) -> LeaseId {
    LeaseId::from_bytes([lease.0; 16])
}

fn empty() -> Body {
    Body::Inline(bytes::Bytes::new())
}

fn template(index: u8) -> Job {
    let key = JobKey { tenant: "t".parse().expect("a tenant"), id: JobId::from_bytes([index; 16]) };
    Job {
        queue: "q".parse().expect("a queue"),
        max_attempts: 0,
        backoff: Backoff::None {},
        timeout_ms: 0,
        version: 0,
        history: History::default(),
        ..Job::accepted(key, "t".parse().expect("a type"), time(0))
    }
}
