//! What reaches the store: the calls that steps make, and what the store makes of them.

use gristmill_common::{State, job::Change};

use crate::{
    bounds::Sabotage,
    promises::{self, By},
    record::{JobIndex, LEASE, Lease, Outcome, Record, lease_id, time, worker},
    step::Stepper,
    store::{Call, Hearer, Standing},
    world::{Batch, Broken, World},
};

impl Stepper {
    /// The store's batch claim: those that wait, and if there are several, that were never rescued.
    pub(crate) fn write_claim(&self, world: &mut World, lease: Lease, batch: Batch, at: u8, hearer: &mut impl Hearer) {
        let mut got = Batch::default();
        for job in batch.jobs() {
            let Some(mut seen) = world.jobs[job] else { continue };
            let alone = batch.len() == 1 || self.sabotage == Some(Sabotage::BatchTakesRescued);
            if seen.rescues > 0 && !alone {
                continue;
            }
            let state = seen.state;
            if self.sabotage == Some(Sabotage::ClaimWithoutState) && state == State::Running {
                seen.state = State::Queued;
            }
            if self.sabotage == Some(Sabotage::ClaimTakesParked) && state == State::Scheduled {
                seen.state = State::Queued;
            }
            if let Ok(mut change) = seen.claim(job, lease, at, at + LEASE) {
                change.guard.state = state;
                got.0[job] = self.write(world, job, change, By::Claim { lease, of: batch.len() });
            }
        }
        if hears(hearer) {
            hearer.hear(Call::Claim {
                lease: lease_id(lease),
                worker: worker(),
                jobs: batch.jobs().collect(),
                rescued: batch.len() == 1,
                now: time(at),
                until: time(at + LEASE),
                got: got.jobs().collect(),
            });
        }
    }

    /// The store's renewal: it never moves a lease's end back.
    pub(crate) fn write_renewal(
        &self,
        world: &mut World,
        leases: [Option<Lease>; 2],
        until: u8,
        hearer: &mut impl Hearer,
    ) {
        if hears(hearer) {
            let held: Vec<_> = (0..2).filter_map(|job| leases[job].map(|lease| (job, lease))).collect();
            let stands = |&(job, lease): &(JobIndex, Lease)| match world.jobs[job] {
                Some(record) if record.lease == Some(lease) && record.cancel_requested => Standing::StopRequested,
                Some(record) if record.lease == Some(lease) => Standing::Held,
                _ => Standing::Lost,
            };
            let stand = held.iter().map(stands).collect();
            let held = held.into_iter().map(|(job, lease)| (job, lease_id(lease))).collect();
            hearer.hear(Call::Renew { held, until: time(until), stand });
        }
        for (record, lease) in world.jobs.iter_mut().zip(leases) {
            let Some(record) = record else { continue };
            if lease.is_some() && record.lease == lease && record.state == State::Running {
                let back = self.sabotage == Some(Sabotage::RenewMovesBack);
                record.wake_at = if back { until } else { until.max(record.wake_at) };
            }
        }
        let cut = world.workers.iter().any(|worker| {
            worker.runs.iter().zip(&world.jobs).any(|(run, record)| {
                let (Some(run), Some(record)) = (run, record) else { return false };
                record.lease == Some(run.lease) && record.wake_at < run.until
            })
        });
        if cut {
            world.breaks(Broken::LeaseCut);
        }
    }

    /// The end of a run, as its worker has seen it.
    pub(crate) fn write_settle(
        &self,
        world: &mut World,
        (job, seen): (JobIndex, Record),
        lease: Lease,
        outcome: Outcome,
        hearer: &mut impl Hearer,
    ) -> bool {
        let Ok(mut change) = seen.settle(job, outcome, world.now) else { return false };
        match self.sabotage {
            Some(Sabotage::SettleWithoutLease) => change.guard.lease = None,
            Some(Sabotage::FailWithoutCancel) => change.guard.cancel_requested = None,
            Some(Sabotage::SettleWithoutState) => {
                change.guard.lease = None;
                change.guard.state = world.jobs[job].map_or(seen.state, |record| record.state);
            }
            _ => {}
        }
        self.apply(world, job, change, By::Settle { lease, outcome }, hearer)
    }

    /// Sends a change to the store.
    pub(crate) fn apply<H: Hearer>(
        &self,
        world: &mut World,
        job: JobIndex,
        change: Change,
        by: By,
        hearer: &mut H,
    ) -> bool {
        let copy = H::HEARS.then(|| Box::new(change.clone()));
        let made = self.write(world, job, change, by);
        if let Some(change) = copy {
            hearer.hear(Call::Apply { job, change, made });
        }
        made
    }

    /// The compare-and-set, and a look at whether it kept every promise.
    fn write(&self, world: &mut World, job: JobIndex, change: Change, by: By) -> bool {
        let Some(before) = world.jobs[job] else { return false };
        let Some(after) = before.apply(job, change) else { return false };
        world.jobs[job] = Some(after);
        promises::watch(world, job, before, after, by);
        true
    }
}

/// Whether anybody hears of the calls.
pub(crate) fn hears<H: Hearer>(_: &H) -> bool {
    H::HEARS
}
