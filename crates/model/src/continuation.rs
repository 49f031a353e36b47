//! What happens from a state on if nothing more goes wrong.

use gristmill_common::State;

use crate::{
    action::{self, Action, Reply},
    record::Outcome,
    step::Stepper,
    world::{Batch, Duty, World},
};

/// Far more steps than any continuation needs.
const MOST_STEPS: usize = 200;

impl Stepper {
    /// Whether every accepted job ends if all parts go on from here.
    pub(crate) fn ends_if_all_go_on(&self, world: &World) -> bool {
        self.ends(world.clone())
    }

    /// Whether every accepted job ends if all that is left from here is the store, and every other part starts
    /// afresh: no message, no worker's lease, no scheduler's plan survives.
    pub(crate) fn ends_if_all_restart(&self, world: &World) -> bool {
        self.ends(World {
            now: world.now,
            jobs: world.jobs,
            truth: world.truth,
            spent: world.spent,
            ..World::default()
        })
    }

    fn ends(&self, mut world: World) -> bool {
        for _ in 0..MOST_STEPS {
            if world.jobs.iter().flatten().all(|record| record.state.is_terminal()) {
                return true;
            }
            let next = self.next_good_step(&world);
            self.step(&mut world, next);
        }
        false
    }

    /// What a part that works does next; time passes when there is nothing to do.
    fn next_good_step(&self, world: &World) -> Action {
        if world.late.is_some() {
            return Action::LateArrives;
        }
        if world.cancel.is_some() {
            return Action::WriteCancel;
        }
        if let Some(scheduler) = world.schedulers.iter().position(Option::is_some) {
            return Action::Write(scheduler);
        }
        (0..2)
            .find_map(|worker| next_of_worker(world, worker))
            .or_else(|| (0..2).find_map(|job| self.next_for_job(world, job)))
            .unwrap_or(Action::Tick)
    }

    fn next_for_job(&self, world: &World, job: usize) -> Option<Action> {
        let record = world.jobs[job]?;
        if world.unpublished[job] {
            return Some(Action::Publish(job));
        }
        if world.broker[job] > 0 {
            return Some(Action::Deliver(0, job));
        }
        let (duty, action) = match record.state {
            State::Scheduled => (Duty::Due, Action::Read(0, Duty::Due, job)),
            State::Queued => (Duty::Mark, Action::Ring(0, job)),
            State::Running => (Duty::Rescue, Action::Read(0, Duty::Rescue, job)),
            _ => return None,
        };
        (record.wake_at <= world.now && action::allowed(self.sabotage, duty)).then_some(action)
    }
}

fn next_of_worker(world: &World, index: usize) -> Option<Action> {
    let worker = &world.workers[index];
    if worker.asking.is_some() {
        return Some(Action::ReadBack(index));
    }
    (0..2).find_map(|job| {
        if action::may_ack(world, index, job) {
            return Some(Action::Ack(index, job));
        }
        if let Some(run) = worker.runs[job] {
            let outcome = run.outcome.unwrap_or(Outcome::Succeed);
            return Some(match run.unsure {
                true => Action::Resolve(index, job),
                false => Action::Settle(index, job, outcome, Reply::Clear),
            });
        }
        let alone = Batch([job == 0, job == 1]);
        (worker.hand[job] > 0).then_some(Action::Claim(index, alone, Reply::Clear))
    })
}
