//! The calls that steps make to the store, for those who want to make them to a real one.

use gristmill_common::{
    LeaseId, Timestamp, WorkerId,
    job::{Change, Job},
};

/// A call to the store, and what the model's store answers.
#[derive(Debug, Clone)]
pub enum Call {
    /// A job is stored.
    Insert {
        /// Which of the two.
        job: usize,
        /// The record; its key is the model's own.
        record: Box<Job>,
    },
    /// Some of the jobs are claimed.
    Claim {
        /// Under this lease.
        lease: LeaseId,
        /// By this worker.
        worker: WorkerId,
        /// These.
        jobs: Vec<usize>,
        /// One that was rescued may be among them.
        rescued: bool,
        /// At this time.
        now: Timestamp,
        /// Until then.
        until: Timestamp,
        /// Those that it got.
        got: Vec<usize>,
    },
    /// Somebody asks which of the jobs run under a lease.
    Held {
        /// The lease.
        lease: LeaseId,
        /// The jobs.
        jobs: Vec<usize>,
        /// Those that do.
        got: Vec<usize>,
    },
    /// Leases are renewed.
    Renew {
        /// The jobs and their leases.
        held: Vec<(usize, LeaseId)>,
        /// Until then.
        until: Timestamp,
        /// How each stands.
        stand: Vec<Standing>,
    },
    /// A change is written.
    Apply {
        /// Of which job.
        job: usize,
        /// The change; its key is the model's own.
        change: Box<Change>,
        /// Whether its guard held.
        made: bool,
    },
}

/// How a lease stands after its renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Held,
    /// It holds, and its job was asked to stop.
    StopRequested,
    /// It is gone.
    Lost,
}

/// Who hears of the calls.
pub(crate) trait Hearer {
    /// Whether anybody does: a call is not made up for nobody.
    const HEARS: bool;

    fn hear(&mut self, call: Call);
}

/// The search: it has millions of steps to take.
pub(crate) struct Nobody;

impl Hearer for Nobody {
    const HEARS: bool = false;

    fn hear(&mut self, _: Call) {}
}

impl Hearer for Vec<Call> {
    const HEARS: bool = true;

    fn hear(&mut self, call: Call) {
        self.push(call);
    }
}
