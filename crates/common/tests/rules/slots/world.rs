//! What there is, and what can happen.

use std::time::Duration;

use gristmill_common::{JobId, LeaseId, Timestamp, limits::Slots};

/// A tick is as long as a lease, and longer than the grace after it.
const TICK: Duration = Duration::from_secs(4);

/// The value as somebody read it, and whether it is still that. This is all that a version is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Seen {
    pub(super) slots: Slots,
    pub(super) fresh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum JobState {
    Queued,
    Parked,
    Running { lease: u8, until: u8 },
    Ended,
}

/// A claim that a worker is about to make, has made, or has done with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Claim {
    pub(super) job: usize,
    pub(super) lease: u8,
    pub(super) until: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Worker {
    Idle,
    /// It is about to swap.
    Takes(Claim, Seen),
    /// It has the slot, and is about to claim.
    Claims(Claim),
    /// Its handler runs.
    Runs(Claim),
    /// It has to give the slot back, and may have read the value for it.
    GivesBack(Claim, Option<Seen>),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct World {
    pub(super) now: u8,
    pub(super) slots: Slots,
    pub(super) jobs: [JobState; 2],
    pub(super) workers: [Worker; 2],
    /// What a scheduler is about to write in the place of what it read, and whom it tells then.
    pub(super) duties: [Option<(Seen, Vec<JobId>)>; 2],
    /// A swap that is on its way, though its sender has given it up.
    pub(super) late: Option<Seen>,
    pub(super) leases: u8,
    pub(super) deaths: u8,
    pub(super) replies: u8,
    pub(super) fails: u8,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Reply {
    Clear,
    Lost,
    NeverSent,
    Late,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Action {
    Tick,
    Read(usize, usize),
    Take(usize, Reply),
    Claim(usize),
    Renew(usize),
    Finish(usize, bool),
    ReadToGiveBack(usize),
    GiveBack(usize),
    Die(usize),
    WakeUp(usize),
    Rescue(usize),
    ReadForLeaks(usize),
    FreeLeaked(usize),
    LateArrives,
}

pub(super) fn job_id(job: usize) -> JobId {
    JobId::from_bytes([job as u8; 16])
}

pub(super) fn lease_id(lease: u8) -> LeaseId {
    LeaseId::from_bytes([lease; 16])
}

pub(super) fn moment(tick: u8) -> Timestamp {
    Timestamp::from_millis(0) + TICK * u32::from(tick)
}

impl World {
    pub(super) fn see(&self) -> Seen {
        Seen { slots: self.slots.clone(), fresh: true }
    }

    /// Runs whose lease is good: their handlers are at work.
    pub(super) fn at_work(&self) -> impl Iterator<Item = Claim> {
        self.workers.iter().filter_map(|worker| match *worker {
            Worker::Runs(claim) if claim.until > self.now => Some(claim),
            _ => None,
        })
    }

    pub(super) fn tell(&mut self, job: JobId) {
        let job = usize::from(job.as_bytes()[0]);
        if self.jobs[job] == JobState::Parked {
            self.jobs[job] = JobState::Queued;
        }
    }

    pub(super) fn all_ended(&self) -> bool {
        self.jobs.iter().all(|&job| job == JobState::Ended)
    }
}
