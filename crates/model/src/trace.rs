//! A walk through the model at random, told call by call.

use std::fmt::Write;

use gristmill_common::job::Job;

use crate::{
    action::{self, Action},
    bounds::{Asker, Bounds},
    record::Record,
    step::Stepper,
    store::Call,
    world::World,
};

/// Room for hundreds of steps. All times and counts stay within a byte.
const BOUNDS: Bounds = Bounds {
    jobs: 2,
    workers: 2,
    schedulers: 2,
    attempts: 3,
    failures: 20,
    rings: 3,
    ticks: 100,
    messages: 2,
    lost: 10,
    doubled: 10,
    deaths: 10,
    replies: 60,
    replies_to: Asker::Any,
    cancels: 10,
    releases: 10,
    again: 10,
    parks: 10,
    put_offs: 4,
    expires: 4,
};

/// A walk from a seed: the same seed walks the same way.
pub struct Trace {
    stepper: Stepper,
    world: World,
    random: fastrand::Rng,
}

/// A step that was taken.
#[derive(Debug, Clone)]
pub struct Step {
    /// What was done, in the model's words.
    pub action: String,
    /// What that asked of the store, in order.
    pub calls: Vec<Call>,
}

impl Trace {
    /// A walk that begins with nothing stored.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            stepper: Stepper { bounds: BOUNDS, sabotage: None },
            world: World::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Takes one step; none once nothing but time would pass.
    pub fn step(&mut self) -> Option<Step> {
        let mut possible = Vec::new();
        action::actions(&self.world, &BOUNDS, None, &mut possible);
        if possible.iter().all(|action| matches!(action, Action::Tick)) && self.has_ended() {
            return None;
        }
        let action = *self.random.choice(&possible)?;
        let mut calls = Vec::new();
        self.stepper.step_heard(&mut self.world, action, &mut calls);
        Some(Step { action: format!("{action:?}"), calls })
    }

    /// What the model's jobs and these do not agree on, if anything: the two jobs as a store has them now.
    #[must_use]
    pub fn difference(&self, stored: &[Option<Job>]) -> Option<String> {
        let mut told = String::new();
        for (job, model) in self.world.jobs.iter().enumerate() {
            let stored = stored.get(job).and_then(Option::as_ref).map(Record::of);
            if stored != *model {
                let _ = write!(told, "job {job}: the model has {model:?}, the store {stored:?}; ");
            }
        }
        (!told.is_empty()).then_some(told)
    }

    /// Whether a promise was broken on the way.
    #[must_use]
    pub fn broken(&self) -> Option<String> {
        self.world.broken.map(|broken| format!("{broken:?}"))
    }

    fn has_ended(&self) -> bool {
        self.world.jobs.iter().all(|record| record.is_some_and(|record| record.state.is_terminal()))
    }
}
