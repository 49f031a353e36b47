//! The model as the checker sees it: states, steps, and what must hold.

use gristmill_common::State;
use stateright::{Model, Property};

use crate::{
    action::{self, Action},
    canonical::canonical,
    record::Record,
    step::Stepper,
    world::{Broken, Duty, World},
};

impl Model for Stepper {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        action::actions(world, &self.bounds, self.sabotage, out);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.step(&mut next, action);
        let next = canonical(next, self);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! always {
            ($name:literal, $promise:ident) => {
                Property::always($name, |_, world: &World| world.broken != Some(Broken::$promise))
            };
        }
        let mut all = vec![
            Property::always("every accepted job ends if all parts go on", |model: &Self, world| {
                model.ends_if_all_go_on(world)
            }),
            Property::always("every accepted job ends if only the store survives", |model: &Self, world| {
                model.ends_if_all_restart(world)
            }),
            always!("a job ends once", EndedTwice),
            always!("no settle is written after its lease was lost", SettledStale),
            always!("no run is settled twice", SettledTwice),
            always!("no job is claimed while a claim of it is good", ClaimedTwice),
            always!("no lease is rescued before its end", RescuedAlive),
            always!("no lease ends before its worker was told", LeaseCut),
            always!("no more attempts are charged than there may be", TooManyAttempts),
            always!("a job that was asked to stop never waits again", WentOnAfterStop),
            always!("a rescued job is claimed alone", RescuedInBatch),
            always!("no worker takes a refused settle for written", TookCredit),
            always!("no worker takes a written success for refused", LostCredit),
            always!("no job is claimed while it is parked", RanWhileParked),
            always!("no running job is parked", ParkedRunning),
            always!("no submission is told that it put off a job that ran without it", PutOffTooLate),
            always!("no job ends by a deadline that no longer counts", ExpiredForgiven),
            always!("no mark puts off a job that nobody rang for", MarkedUnrung),
        ];
        all.extend(self.reached());
        all
    }
}

impl Stepper {
    /// What the search must come across, or it would prove nothing.
    fn reached(&self) -> Vec<Property<Self>> {
        fn any(world: &World, state: State) -> bool {
            world.jobs.iter().flatten().any(|record| record.state == state)
        }
        let mut reached = vec![
            Property::sometimes("all jobs succeed", |model: &Self, world: &World| {
                let succeeded = |record: &&Record| record.state == State::Succeeded;
                world.jobs.iter().flatten().filter(succeeded).count() == usize::from(model.bounds.jobs)
            }),
            Property::sometimes("a job becomes a dead letter", |_, world: &World| any(world, State::Failed)),
            Property::sometimes("a rescue is written", |_, world: &World| {
                world.jobs.iter().flatten().any(|record| record.rescues > 0)
            }),
            Property::sometimes("a running job is cancelled", |_, world: &World| {
                world.jobs.iter().flatten().any(|record| record.state == State::Cancelled && record.cancel_requested)
            }),
            Property::sometimes("a duplicate finds its job taken", |_, world: &World| {
                world.workers.iter().any(|worker| {
                    (0..2).any(|job| {
                        let taken = world.jobs[job].is_some_and(|record| record.state == State::Running);
                        worker.hand[job] > 0 && worker.runs[job].is_none() && taken
                    })
                })
            }),
            Property::sometimes("a worker learns that its lease is lost as it settles", |_, world: &World| {
                world.workers.iter().any(|worker| {
                    (0..2).any(|job| {
                        let (Some(run), Some(record)) = (worker.runs[job], world.jobs[job]) else { return false };
                        run.unsure && record.lease != Some(run.lease) && record.settled_by != Some(run.lease)
                    })
                })
            }),
            Property::sometimes("a job is parked", |_, world: &World| world.truth.iter().any(|truth| truth.parked)),
            Property::sometimes("a job is put off", |_, world: &World| world.truth.iter().any(|truth| truth.put_off)),
            Property::sometimes("a job ends by its deadline", |_, world: &World| {
                world.truth.iter().any(|truth| truth.expired)
            }),
            Property::sometimes("both schedulers are about to rescue one job", |_, world: &World| {
                let [Some(one), Some(other)] = world.schedulers else { return false };
                one.duty == Duty::Rescue && one == other
            }),
        ];
        if self.bounds.jobs > 1 {
            reached.push(Property::sometimes("a batch is claimed under one lease", |_, world: &World| {
                let [Some(one), Some(other)] = world.jobs else { return false };
                one.lease.is_some() && one.lease == other.lease
            }));
        }
        reached
    }
}
