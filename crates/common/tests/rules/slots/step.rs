//! What each step does. Who may have a slot is decided by the product, on the value as it was read.

use gristmill_common::{
    JobId, LeaseId,
    limits::{Holder, Slot, Slots},
};

use super::{
    Keepers, LIMIT, LeftOut,
    world::{Action, Claim, JobState, Reply, Seen, Worker, World, job_id, lease_id, moment},
};

impl Keepers {
    pub(super) fn lacks(&self, rule: LeftOut) -> bool {
        self.left_out == Some(rule)
    }

    /// The lease that an entry carries.
    pub(super) fn entry_lease(&self, claim: Claim) -> LeaseId {
        lease_id(if self.lacks(LeftOut::LeaseInTheEntry) { 0 } else { claim.lease })
    }

    fn swap(&self, world: &mut World, seen: &Seen, to: Slots) -> bool {
        if !seen.fresh && !self.lacks(LeftOut::SwapByVersion) {
            return false;
        }
        world.slots = to;
        // Whatever was read before is old now.
        for worker in &mut world.workers {
            if let Worker::Takes(_, seen) | Worker::GivesBack(_, Some(seen)) = worker {
                seen.fresh = false;
            }
        }
        for (seen, _) in world.duties.iter_mut().flatten() {
            seen.fresh = false;
        }
        if let Some(late) = &mut world.late {
            late.fresh = false;
        }
        true
    }

    fn take(&self, world: &mut World, worker: usize, reply: Reply) {
        let Worker::Takes(claim, seen) = world.workers[worker].clone() else { return };
        let mut to = seen.slots.clone();
        if self.lacks(LeftOut::EntriesBesideEachOther) {
            give_back_all(&mut to, claim.job);
        }
        let slot = to.take(job_id(claim.job), self.entry_lease(claim), moment(claim.until), LIMIT);
        let written = match reply {
            Reply::Clear | Reply::Lost => self.swap(world, &seen, to),
            Reply::NeverSent => false,
            Reply::Late => {
                world.late = Some(Seen { slots: to, fresh: seen.fresh });
                false
            }
        };
        if reply != Reply::Clear {
            world.replies += 1;
        }
        world.workers[worker] = match (written && reply == Reply::Clear, slot) {
            // Whoever does not know, or came too late, reads again.
            (false, _) => Worker::Takes(claim, world.see()),
            (true, Slot::Granted) if self.lacks(LeftOut::SlotFirst) => Worker::Runs(claim),
            (true, Slot::Granted) => Worker::Claims(claim),
            (true, Slot::Refused) => {
                if world.jobs[claim.job] == JobState::Queued {
                    world.jobs[claim.job] = JobState::Parked;
                }
                Worker::Idle
            }
        };
    }

    fn claim(&self, world: &mut World, worker: usize) {
        let Worker::Claims(claim) = world.workers[worker] else { return };
        let got = world.jobs[claim.job] == JobState::Queued;
        if got {
            world.jobs[claim.job] = JobState::Running { lease: claim.lease, until: claim.until };
        }
        let starts = claim.until > world.now || self.lacks(LeftOut::LookBeforeTheStart);
        world.workers[worker] = if got && starts {
            // Without the look, the handler runs until the next heartbeat says that the lease is lost.
            Worker::Runs(Claim {
                until: claim.until.max(world.now + u8::from(self.lacks(LeftOut::LookBeforeTheStart))),
                ..claim
            })
        } else {
            Worker::GivesBack(claim, None)
        };
    }

    fn give_back(&self, world: &mut World, worker: usize) {
        let Worker::GivesBack(claim, Some(seen)) = world.workers[worker].clone() else { return };
        let mut to = seen.slots.clone();
        let next = if self.lacks(LeftOut::ReleaseByLease) {
            give_back_all(&mut to, claim.job)
        } else {
            to.release(job_id(claim.job), self.entry_lease(claim))
        };
        if self.swap(world, &seen, to) {
            world.workers[worker] = Worker::Idle;
            next.into_iter().for_each(|next| world.tell(next));
        } else {
            world.workers[worker] = Worker::GivesBack(claim, None);
        }
    }

    fn read_for_leaks(&self, world: &mut World, scheduler: usize) {
        let mut to = world.slots.clone();
        let jobs = world.jobs;
        let told = to.free_leaked(moment(world.now), |holder: &Holder| {
            let JobState::Running { lease, until } = jobs[usize::from(holder.job.as_bytes()[0])] else { return None };
            let is_its_run = lease_id(lease) == holder.lease || self.lacks(LeftOut::LeaseInTheEntry);
            (is_its_run && !self.lacks(LeftOut::LookAtTheJob)).then(|| moment(until))
        });
        if to != world.slots {
            // What it will write is kept; that nothing was written in between is all that it needs of what it read.
            world.duties[scheduler] = Some((Seen { slots: to, fresh: true }, told));
        }
    }

    /// What happens if all goes on without faults, or if first everything but the store is lost.
    pub(super) fn all_end(&self, mut world: World, only_the_store: bool) -> bool {
        if only_the_store {
            world.workers = [Worker::Idle, Worker::Idle];
            (world.duties, world.late) = ([None, None], None);
        }
        for _ in 0..10 {
            for worker in 0..2 {
                for job in 0..2 {
                    if world.workers[worker] == Worker::Idle && world.jobs[job] == JobState::Queued {
                        self.step(&mut world, Action::Read(worker, job));
                    }
                }
                for _ in 0..6 {
                    let action = match &world.workers[worker] {
                        Worker::Idle => break,
                        Worker::Takes(..) => Action::Take(worker, Reply::Clear),
                        Worker::Claims(_) => Action::Claim(worker),
                        Worker::Runs(_) => Action::Finish(worker, true),
                        Worker::GivesBack(_, None) => Action::ReadToGiveBack(worker),
                        Worker::GivesBack(..) => Action::GiveBack(worker),
                    };
                    self.step(&mut world, action);
                }
            }
            if world.all_ended() {
                return true;
            }
            self.step(&mut world, Action::Tick);
            for job in 0..2 {
                self.step(&mut world, Action::Rescue(job));
                self.step(&mut world, Action::WakeUp(job));
            }
            if !self.lacks(LeftOut::LeakDuty) {
                self.step(&mut world, Action::ReadForLeaks(0));
                self.step(&mut world, Action::FreeLeaked(0));
            }
        }
        false
    }

    pub(super) fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => world.now += 1,
            Action::Read(worker, job) => {
                world.leases += 1;
                let claim = Claim { job, lease: world.leases, until: world.now + 1 };
                world.workers[worker] = Worker::Takes(claim, world.see());
                if self.lacks(LeftOut::SlotFirst) && world.jobs[job] == JobState::Queued {
                    world.jobs[job] = JobState::Running { lease: claim.lease, until: claim.until };
                    world.workers[worker] = Worker::Runs(claim);
                }
            }
            Action::Take(worker, reply) => self.take(world, worker, reply),
            Action::Claim(worker) => self.claim(world, worker),
            Action::Renew(worker) => {
                if let Worker::Runs(claim) = &mut world.workers[worker]
                    && let JobState::Running { lease, until } = &mut world.jobs[claim.job]
                    && *lease == claim.lease
                {
                    (claim.until, *until) = (world.now + 1, world.now + 1);
                }
            }
            Action::Finish(worker, well) => {
                let Worker::Runs(claim) = world.workers[worker] else { return };
                if matches!(world.jobs[claim.job], JobState::Running { lease, .. } if lease == claim.lease) {
                    world.jobs[claim.job] = if well { JobState::Ended } else { JobState::Queued };
                }
                world.fails += u8::from(!well);
                world.workers[worker] = Worker::GivesBack(claim, None);
            }
            Action::ReadToGiveBack(worker) => {
                if let Worker::GivesBack(claim, _) = world.workers[worker] {
                    world.workers[worker] = Worker::GivesBack(claim, Some(world.see()));
                }
            }
            Action::GiveBack(worker) => self.give_back(world, worker),
            Action::Die(worker) => {
                world.deaths += 1;
                world.workers[worker] = Worker::Idle;
            }
            Action::WakeUp(job) => world.tell(job_id(job)),
            Action::Rescue(job) => {
                if matches!(world.jobs[job], JobState::Running { until, .. } if until <= world.now) {
                    world.jobs[job] = JobState::Queued;
                }
            }
            Action::ReadForLeaks(scheduler) => self.read_for_leaks(world, scheduler),
            Action::FreeLeaked(scheduler) => {
                let Some((to, told)) = world.duties[scheduler].take() else { return };
                if self.swap(world, &to, to.slots.clone()) {
                    told.into_iter().for_each(|job| world.tell(job));
                }
            }
            Action::LateArrives => {
                let Some(late) = world.late.take() else { return };
                self.swap(world, &late, late.slots.clone());
            }
        }
    }
}

/// Gives back every entry of a job; says whom the last one tells.
fn give_back_all(slots: &mut Slots, job: usize) -> Option<JobId> {
    let entries: Vec<Holder> = slots.holders().iter().filter(|holder| holder.job == job_id(job)).copied().collect();
    entries.into_iter().filter_map(|holder| slots.release(holder.job, holder.lease)).last()
}
