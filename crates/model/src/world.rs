//! All that there is: the store, the broker, the workers, the schedulers, and what is on its way between them.

use crate::record::{JobIndex, Lease, Outcome, Record};

/// One state of the model.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct World {
    pub(crate) now: u8,
    /// The store: the truth.
    pub(crate) jobs: [Option<Record>; 2],
    /// What really happened to each job, told by the model itself and not by the record.
    pub(crate) truth: [Truth; 2],
    /// Accepted, and its submitter has not published yet: it may die first.
    pub(crate) unpublished: [bool; 2],
    /// Messages that wait in the broker, for each job.
    pub(crate) broker: [u8; 2],
    pub(crate) workers: [Worker; 2],
    /// What each scheduler has read and is about to write.
    pub(crate) schedulers: [Option<Plan>; 2],
    /// A cancel, decided on this record and about to be written.
    pub(crate) cancel: Option<(JobIndex, Record)>,
    /// A write whose sender gave up waiting, and which has not reached the store yet.
    pub(crate) late: Option<Late>,
    pub(crate) spent: Spent,
    /// The first promise that was broken.
    pub(crate) broken: Option<Broken>,
}

/// What really happened to a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Truth {
    /// The claim that is the rightful one now.
    pub(crate) run: Option<Lease>,
    /// The last claim whose settle was written.
    pub(crate) settled: Option<Lease>,
    /// That settle was a success.
    pub(crate) succeeded: bool,
    /// A message was published since it was last put in the queue.
    pub(crate) rung: bool,
    /// A gate was shut, and nobody has put it back in line since.
    pub(crate) parked: bool,
    /// A submission of its key was told that it had put it off, and it has not been put in line since.
    pub(crate) put_off: bool,
    /// It was claimed at least once.
    pub(crate) claimed: bool,
    /// It was run again by hand: its deadline counts no more.
    pub(crate) forgiven: bool,
    /// Its deadline ended it.
    pub(crate) expired: bool,
}

/// A worker: what it has in hand and what it believes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Worker {
    /// Messages delivered and not acked, for each job.
    pub(crate) hand: [u8; 2],
    /// What it runs.
    pub(crate) runs: [Option<Run>; 2],
    /// A claim whose reply was lost: it must read back before it does anything else with these jobs.
    pub(crate) asking: Option<(Lease, Batch)>,
}

/// A run that a worker believes in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Run {
    pub(crate) lease: Lease,
    /// The record as the worker last read it.
    pub(crate) seen: Record,
    /// Until when the store has said that the lease lasts.
    pub(crate) until: u8,
    /// How the handler ended, once it has.
    pub(crate) outcome: Option<Outcome>,
    /// Its settle was refused, or its reply was lost: read again.
    pub(crate) unsure: bool,
}

/// Which of the jobs.
#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Batch(pub(crate) [bool; 2]);

/// What a scheduler has decided on a record that it read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Plan {
    pub(crate) duty: Duty,
    pub(crate) job: JobIndex,
    pub(crate) seen: Record,
}

/// What a scheduler does to a job; or a submitter that marks or puts off, or a worker that parks: who it is makes no
/// difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Duty {
    Due,
    Mark,
    Rescue,
    Park,
    PutOff,
    Expire,
}

/// A write that is still under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Late {
    Claim { lease: Lease, batch: Batch, at: u8 },
    Renew { leases: [Option<Lease>; 2], until: u8 },
    Settle { job: JobIndex, seen: Record, lease: Lease, outcome: Outcome },
}

/// How much of each fault there was.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) lost: u8,
    pub(crate) doubled: u8,
    pub(crate) deaths: u8,
    pub(crate) replies: u8,
    pub(crate) cancels: u8,
    pub(crate) releases: u8,
    pub(crate) failures: u8,
    pub(crate) again: u8,
    pub(crate) parks: u8,
    pub(crate) put_offs: u8,
    pub(crate) expires: u8,
}

/// A broken promise.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Broken {
    /// A job that had ended changed.
    EndedTwice,
    /// A settle was written under a lease that was lost.
    SettledStale,
    /// Two settles of one run were written.
    SettledTwice,
    /// A job was claimed while a claim of it was good.
    ClaimedTwice,
    /// A rescue was written before the lease had ended.
    RescuedAlive,
    /// A job was claimed, or put back in line, after a stop was asked for.
    WentOnAfterStop,
    /// A rescued job was claimed together with others.
    RescuedInBatch,
    /// More attempts were charged than there may be.
    TooManyAttempts,
    /// A worker took its settle for written, and it was not.
    TookCredit,
    /// A worker took its success for refused, and it was written.
    LostCredit,
    /// A ring was marked, and nobody had rung.
    MarkedUnrung,
    /// A job was claimed while a gate was shut before it.
    RanWhileParked,
    /// A job was parked while it ran.
    ParkedRunning,
    /// A submission was told that it had put off a job which had run without it.
    PutOffTooLate,
    /// A job was ended by a deadline that no longer counted.
    ExpiredForgiven,
    /// The store's lease ends earlier than it told the worker.
    LeaseCut,
}

impl Batch {
    pub(crate) fn len(self) -> usize {
        self.0.iter().filter(|&&is_in| is_in).count()
    }

    pub(crate) fn jobs(self) -> impl Iterator<Item = JobIndex> {
        (0..2).filter(move |&job| self.0[job])
    }
}

impl Plan {
    /// Whether it minds where the clock of this job stands while that waits in line.
    pub(crate) fn looks_at_the_clock_of(&self, job: JobIndex) -> bool {
        matches!(self.duty, Duty::Mark | Duty::Expire) && self.job == job
    }
}

impl World {
    /// Notes the first broken promise.
    pub(crate) fn breaks(&mut self, promise: Broken) {
        self.broken.get_or_insert(promise);
    }

    /// Messages about a job, waiting and in hand.
    pub(crate) fn messages(&self, job: JobIndex) -> u8 {
        self.broker[job] + self.workers.iter().map(|worker| worker.hand[job]).sum::<u8>()
    }

    /// A lease that nobody has used.
    pub(crate) fn fresh_lease(&self) -> Lease {
        let mut last = 0;
        let mut copy = self.clone();
        copy.each_lease(&mut |lease| last = last.max(lease.0));
        Lease(last + 1)
    }

    /// Visits every lease there is, in a fixed order.
    pub(crate) fn each_lease(&mut self, visit: &mut impl FnMut(&mut Lease)) {
        let mut of_record = |record: &mut Record| {
            record.lease.iter_mut().for_each(&mut *visit);
            record.settled_by.iter_mut().for_each(&mut *visit);
        };
        self.jobs.iter_mut().flatten().for_each(&mut of_record);
        self.cancel.iter_mut().for_each(|(_, seen)| of_record(seen));
        self.schedulers.iter_mut().flatten().for_each(|plan| of_record(&mut plan.seen));
        for worker in &mut self.workers {
            for run in worker.runs.iter_mut().flatten() {
                of_record(&mut run.seen);
            }
        }
        if let Some(Late::Settle { seen, .. }) = &mut self.late {
            of_record(seen);
        }
        for truth in &mut self.truth {
            truth.run.iter_mut().for_each(&mut *visit);
            truth.settled.iter_mut().for_each(&mut *visit);
        }
        for worker in &mut self.workers {
            worker.runs.iter_mut().flatten().for_each(|run| visit(&mut run.lease));
            worker.asking.iter_mut().for_each(|(lease, _)| visit(lease));
        }
        match &mut self.late {
            Some(Late::Claim { lease, .. } | Late::Settle { lease, .. }) => visit(lease),
            Some(Late::Renew { leases, .. }) => leases.iter_mut().flatten().for_each(visit),
            None => {}
        }
    }
}
