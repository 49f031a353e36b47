//! What each step does. Every change of a job is decided by the product on the record that its decider read,
//! and written by the product's compare-and-set.

use gristmill_common::{
    State,
    job::{Change, Set},
};

use crate::{
    action::{Action, Reply},
    bounds::{Bounds, Sabotage},
    promises::{self, By},
    record::{Decision, JobIndex, LEASE, Lease, Outcome, Record},
    world::{Batch, Broken, Duty, Late, Plan, Run, World},
};

/// What carries the steps out.
#[derive(Clone, Copy)]
pub(crate) struct Stepper {
    pub(crate) bounds: Bounds,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Stepper {
    /// Takes one step.
    pub(crate) fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => world.now += 1,
            Action::Submit(job) => {
                world.jobs[job] = Some(Record::accepted(world.now, self.bounds.attempts));
                world.unpublished[job] = true;
            }
            Action::Publish(job) => {
                world.unpublished[job] = false;
                ring(world, job);
            }
            Action::Lose(job) => {
                world.spent.lost += 1;
                world.broker[job] -= 1;
            }
            Action::Double(job) => {
                world.spent.doubled += 1;
                world.broker[job] += 1;
            }
            Action::ReadForCancel(job) => {
                world.spent.cancels += 1;
                world.cancel = world.jobs[job].map(|seen| (job, seen));
            }
            Action::WriteCancel => self.cancel(world),
            Action::RunAgain(job) => {
                // Nobody cancels a job and runs it again within one moment.
                world.now += 1;
                world.spent.again += 1;
                let change = world.jobs[job].and_then(|seen| seen.run_again(job, world.now).ok());
                change.map(|change| self.write(world, job, change, By::Again));
                world.unpublished[job] = true;
            }
            Action::Deliver(worker, job) => {
                world.broker[job] -= 1;
                world.workers[worker].hand[job] += 1;
            }
            Action::Claim(worker, batch, reply) => self.claim(world, worker, batch, reply),
            Action::ReadBack(worker) => self.read_back(world, worker),
            Action::Ack(worker, job) => world.workers[worker].hand[job] = 0,
            Action::Renew(worker, reply) => self.renew(world, worker, reply),
            Action::Settle(worker, job, outcome, reply) => self.settle(world, worker, job, outcome, reply),
            Action::Resolve(worker, job) => self.resolve(world, worker, job),
            Action::Die(worker) => {
                world.spent.deaths += 1;
                let dead = std::mem::take(&mut world.workers[worker]);
                for job in 0..2 {
                    world.broker[job] += dead.hand[job];
                }
            }
            Action::Ring(scheduler, job) => {
                ring(world, job);
                self.step(world, Action::Read(scheduler, Duty::Mark, job));
            }
            Action::Read(scheduler, duty, job) => {
                world.schedulers[scheduler] = world.jobs[job].map(|seen| Plan { duty, job, seen });
            }
            Action::Write(scheduler) => {
                if let Some(plan) = world.schedulers[scheduler].take() {
                    self.duty(world, plan);
                }
            }
            Action::LateArrives => self.late_arrives(world),
        }
    }

    fn claim(&self, world: &mut World, worker: usize, batch: Batch, reply: Reply) {
        let lease = match world.late {
            Some(Late::Claim { lease, .. }) if self.sabotage == Some(Sabotage::LeaseReused) => lease,
            _ => world.fresh_lease(),
        };
        if reply != Reply::Clear {
            world.spent.replies += 1;
            world.workers[worker].asking = Some((lease, batch));
        }
        match reply {
            Reply::Clear => {
                self.write_claim(world, lease, batch, world.now);
                self.take_up(world, worker, lease, batch);
            }
            Reply::Lost => self.write_claim(world, lease, batch, world.now),
            Reply::NeverSent => {}
            Reply::Late => world.late = Some(Late::Claim { lease, batch, at: world.now }),
        }
    }

    /// The store's batch claim: those that wait, and if there are several, that were never rescued.
    fn write_claim(&self, world: &mut World, lease: Lease, batch: Batch, at: u8) {
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
            if let Ok(mut change) = seen.claim(job, lease, at, at + LEASE) {
                change.guard.state = state;
                self.write(world, job, change, By::Claim { lease, of: batch.len() });
            }
        }
    }

    fn read_back(&self, world: &mut World, worker: usize) {
        if let Some((lease, batch)) = world.workers[worker].asking.take() {
            self.take_up(world, worker, lease, batch);
        }
    }

    /// The worker learns which jobs its claim got.
    fn take_up(&self, world: &mut World, worker: usize, lease: Lease, batch: Batch) {
        for job in batch.jobs() {
            let held = world.jobs[job].filter(|record| record.lease == Some(lease));
            if let Some(seen) = held {
                let run = Run { lease, seen, until: seen.wake_at, outcome: None, unsure: false };
                world.workers[worker].runs[job] = Some(run);
            }
        }
    }

    fn renew(&self, world: &mut World, worker: usize, reply: Reply) {
        let (leases, until) = (world.workers[worker].runs.map(|run| run.map(|run| run.lease)), world.now + LEASE);
        if reply != Reply::Clear {
            world.spent.replies += 1;
        }
        if reply == Reply::Late {
            world.late = Some(Late::Renew { leases, until });
            return;
        }
        self.write_renewal(world, leases, until);
        if reply != Reply::Clear {
            return;
        }
        for job in 0..2 {
            let Some(run) = &mut world.workers[worker].runs[job] else { continue };
            match world.jobs[job].filter(|record| record.lease == Some(run.lease)) {
                Some(record) => {
                    run.until = record.wake_at;
                    run.seen.cancel_requested = record.cancel_requested;
                }
                // A worker that still asks what became of its settle finds out so.
                None if run.unsure => {}
                None => world.workers[worker].runs[job] = None,
            }
        }
    }

    /// The store's renewal: it never moves a lease's end back.
    fn write_renewal(&self, world: &mut World, leases: [Option<Lease>; 2], until: u8) {
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

    fn settle(&self, world: &mut World, worker: usize, job: JobIndex, outcome: Outcome, reply: Reply) {
        let Some(run) = &mut world.workers[worker].runs[job] else { return };
        if run.outcome.is_none() {
            world.spent.releases += u8::from(outcome == Outcome::Release);
            world.spent.failures += u8::from(outcome == Outcome::Fail);
        }
        run.outcome = Some(outcome);
        run.unsure = true;
        let Run { lease, seen, .. } = *run;
        world.spent.replies += u8::from(reply != Reply::Clear);
        match reply {
            Reply::Clear => {
                if self.write_settle(world, job, seen, lease, outcome) {
                    world.workers[worker].runs[job] = None;
                }
            }
            Reply::Lost => {
                self.write_settle(world, job, seen, lease, outcome);
            }
            Reply::NeverSent => {}
            Reply::Late => world.late = Some(Late::Settle { job, seen, lease, outcome }),
        }
    }

    fn write_settle(&self, world: &mut World, job: JobIndex, seen: Record, lease: Lease, outcome: Outcome) -> bool {
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
        self.write(world, job, change, By::Settle { lease, outcome })
    }

    /// A worker whose settle was refused, or got no reply, reads again.
    fn resolve(&self, world: &mut World, worker: usize, job: JobIndex) {
        let (Some(mut run), Some(record)) = (world.workers[worker].runs[job].take(), world.jobs[job]) else { return };
        let truth = world.truth[job];
        let written = truth.settled == Some(run.lease);
        let reads_back = self.sabotage != Some(Sabotage::NoReadBack);
        if reads_back && record.settled_by == Some(run.lease) {
            if !written {
                world.breaks(Broken::TookCredit);
            }
        } else if record.lease == Some(run.lease) {
            run.seen = record;
            run.unsure = false;
            world.workers[worker].runs[job] = Some(run);
        } else if written && truth.succeeded {
            world.breaks(Broken::LostCredit);
        }
    }

    fn duty(&self, world: &mut World, plan: Plan) {
        if let Ok(change) = self.planned(plan, world.now) {
            self.write(world, plan.job, change, By::Duty(plan.duty));
        }
    }

    /// What a scheduler that carries its plan out writes.
    pub(crate) fn planned(&self, Plan { duty, job, seen }: Plan, now: u8) -> Decision {
        let mut change = match duty {
            Duty::Due => seen.due(job, now)?,
            Duty::Mark => seen.ring(job, now)?,
            Duty::Rescue => seen.rescue(job, now)?,
        };
        match (self.sabotage, duty) {
            (Some(Sabotage::RescueWithoutWakeAt), Duty::Rescue) => change.guard.wake_at = None,
            (Some(Sabotage::RescueWithoutLease), Duty::Rescue) => {
                (change.guard.wake_at, change.guard.lease) = (None, None);
            }
            (Some(Sabotage::RescueSigned), Duty::Rescue) => change.sets.push(Set::SettledBy(change.guard.lease)),
            (Some(Sabotage::MarkWithoutCounts), Duty::Mark) => {
                (change.guard.claims, change.guard.rings, change.guard.wake_at) = (None, None, None);
            }
            (Some(Sabotage::MarkWithoutClock), Duty::Mark) => change.guard.wake_at = None,
            _ => {}
        }
        Ok(change)
    }

    /// A cancel that is refused reads again and decides again.
    fn cancel(&self, world: &mut World) {
        let Some((job, seen)) = world.cancel.take() else { return };
        let Ok(change) = seen.cancel(job, world.now) else { return };
        if !self.write(world, job, change, By::User) {
            world.cancel = world.jobs[job].filter(|record| !record.state.is_terminal()).map(|seen| (job, seen));
        }
    }

    fn late_arrives(&self, world: &mut World) {
        match world.late.take() {
            Some(Late::Claim { lease, batch, at }) => self.write_claim(world, lease, batch, at),
            Some(Late::Renew { leases, until }) => self.write_renewal(world, leases, until),
            Some(Late::Settle { job, seen, lease, outcome }) => {
                self.write_settle(world, job, seen, lease, outcome);
            }
            None => {}
        }
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

fn ring(world: &mut World, job: JobIndex) {
    world.broker[job] += 1;
    world.truth[job].rung = true;
}
