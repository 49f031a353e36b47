//! What each step does. Every change of a job is decided by the product on the record that its decider read,
//! and written by the product's compare-and-set.

use gristmill_common::job::Set;

use crate::{
    action::{Action, Reply},
    bounds::{Bounds, Sabotage},
    promises::By,
    record::{Decision, JobIndex, LEASE, Lease, Outcome, Record, lease_id},
    store::{Call, Hearer, Nobody},
    world::{Batch, Broken, Duty, Late, Plan, Run, World},
    writes::hears,
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
        self.step_heard(world, action, &mut Nobody);
    }

    /// Takes one step, and tells what it asks of the store.
    pub(crate) fn step_heard(&self, world: &mut World, action: Action, hearer: &mut impl Hearer) {
        match action {
            Action::Tick => world.now += 1,
            Action::Submit(job) => {
                let (now, attempts) = (world.now, self.bounds.attempts);
                let later = self.bounds.put_offs > 0;
                let record = if later { Record::put_off_from(now, attempts) } else { Record::accepted(now, attempts) };
                world.jobs[job] = Some(record);
                world.unpublished[job] = !later;
                if hears(hearer) {
                    hearer.hear(Call::Insert { job, record: Box::new(record.job(job)) });
                }
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
            Action::WriteCancel => self.cancel(world, hearer),
            Action::RunAgain(job) => {
                // Nobody cancels a job and runs it again within one moment.
                world.now += 1;
                world.spent.again += 1;
                let change = world.jobs[job].and_then(|seen| seen.run_again(job, world.now).ok());
                change.map(|change| self.apply(world, job, change, By::Again, hearer));
                world.unpublished[job] = true;
            }
            Action::Deliver(worker, job) => {
                world.broker[job] -= 1;
                world.workers[worker].hand[job] += 1;
            }
            Action::Claim(worker, batch, reply) => self.claim(world, worker, batch, reply, hearer),
            Action::ReadBack(worker) => self.read_back(world, worker, hearer),
            Action::Ack(worker, job) => world.workers[worker].hand[job] = 0,
            Action::Renew(worker, reply) => self.renew(world, worker, reply, hearer),
            Action::Settle(worker, job, outcome, reply) => self.settle(world, (worker, job), outcome, reply, hearer),
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
                self.step_heard(world, Action::Read(scheduler, Duty::Mark, job), hearer);
            }
            Action::Read(scheduler, duty, job) => {
                world.spent.parks += u8::from(duty == Duty::Park);
                world.spent.put_offs += u8::from(duty == Duty::PutOff);
                world.spent.expires += u8::from(duty == Duty::Expire);
                world.schedulers[scheduler] = world.jobs[job].map(|seen| Plan { duty, job, seen });
            }
            Action::Write(scheduler) => {
                if let Some(plan) = world.schedulers[scheduler].take() {
                    self.duty(world, plan, hearer);
                }
            }
            Action::LateArrives => self.late_arrives(world, hearer),
        }
    }

    fn claim(&self, world: &mut World, worker: usize, batch: Batch, reply: Reply, hearer: &mut impl Hearer) {
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
                self.write_claim(world, lease, batch, world.now, hearer);
                self.take_up(world, worker, lease, batch);
            }
            Reply::Lost => self.write_claim(world, lease, batch, world.now, hearer),
            Reply::NeverSent => {}
            Reply::Late => world.late = Some(Late::Claim { lease, batch, at: world.now }),
        }
    }

    fn read_back(&self, world: &mut World, worker: usize, hearer: &mut impl Hearer) {
        if let Some((lease, batch)) = world.workers[worker].asking.take() {
            if hears(hearer) {
                let jobs = world.jobs;
                let held = |job: &JobIndex| jobs[*job].is_some_and(|record| record.lease == Some(lease));
                let got = batch.jobs().filter(held).collect();
                hearer.hear(Call::Held { lease: lease_id(lease), jobs: batch.jobs().collect(), got });
            }
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

    fn renew(&self, world: &mut World, worker: usize, reply: Reply, hearer: &mut impl Hearer) {
        let (leases, until) = (world.workers[worker].runs.map(|run| run.map(|run| run.lease)), world.now + LEASE);
        if reply != Reply::Clear {
            world.spent.replies += 1;
        }
        if reply == Reply::Late {
            world.late = Some(Late::Renew { leases, until });
            return;
        }
        self.write_renewal(world, leases, until, hearer);
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

    fn settle(
        &self,
        world: &mut World,
        (worker, job): (usize, JobIndex),
        outcome: Outcome,
        reply: Reply,
        hearer: &mut impl Hearer,
    ) {
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
                if self.write_settle(world, (job, seen), lease, outcome, hearer) {
                    world.workers[worker].runs[job] = None;
                }
            }
            Reply::Lost => {
                self.write_settle(world, (job, seen), lease, outcome, hearer);
            }
            Reply::NeverSent => {}
            Reply::Late => world.late = Some(Late::Settle { job, seen, lease, outcome }),
        }
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

    fn duty(&self, world: &mut World, plan: Plan, hearer: &mut impl Hearer) {
        if plan.duty == Duty::Due && plan.seen.wake_at > world.now {
            // Nobody shuts a gate and opens it again within one moment.
            world.now += 1;
        }
        if let Ok(mut change) = self.planned(plan, world.now) {
            if self.sabotage == Some(Sabotage::ParkWithoutState) && plan.duty == Duty::Park {
                change.guard.state = world.jobs[plan.job].map_or(plan.seen.state, |record| record.state);
            }
            self.apply(world, plan.job, change, By::Duty(plan.duty), hearer);
        }
    }

    /// What a scheduler that carries its plan out writes.
    pub(crate) fn planned(&self, Plan { duty, job, seen }: Plan, now: u8) -> Decision {
        let mut change = match duty {
            Duty::Due => seen.due(job, now)?,
            Duty::Mark => seen.ring(job, now)?,
            Duty::Rescue => seen.rescue(job, now)?,
            Duty::Park => seen.park(job, now)?,
            Duty::PutOff => seen.put_off(job, now)?,
            Duty::Expire => seen.expire(job, now)?,
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
            (Some(Sabotage::ParkWithoutState), Duty::Park) => change.guard.claims = None,
            (Some(Sabotage::PutOffWithoutCounts), Duty::PutOff)
            | (Some(Sabotage::ExpireWithoutClock), Duty::Expire) => {
                (change.guard.claims, change.guard.rings, change.guard.wake_at) = (None, None, None);
            }
            _ => {}
        }
        Ok(change)
    }

    /// A cancel that is refused reads again and decides again.
    fn cancel(&self, world: &mut World, hearer: &mut impl Hearer) {
        let Some((job, seen)) = world.cancel.take() else { return };
        let Ok(change) = seen.cancel(job, world.now) else { return };
        if !self.apply(world, job, change, By::User, hearer) {
            world.cancel = world.jobs[job].filter(|record| !record.state.is_terminal()).map(|seen| (job, seen));
        }
    }

    fn late_arrives(&self, world: &mut World, hearer: &mut impl Hearer) {
        match world.late.take() {
            Some(Late::Claim { lease, batch, at }) => self.write_claim(world, lease, batch, at, hearer),
            Some(Late::Renew { leases, until }) => self.write_renewal(world, leases, until, hearer),
            Some(Late::Settle { job, seen, lease, outcome }) => {
                self.write_settle(world, (job, seen), lease, outcome, hearer);
            }
            None => {}
        }
    }
}

fn ring(world: &mut World, job: JobIndex) {
    world.broker[job] += 1;
    world.truth[job].rung = true;
}
