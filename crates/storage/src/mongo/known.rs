//! The jobs that this process has claimed, as it last saw them. Whoever settles one of them need not read it back: if
//! it still has the version that is known, what the change makes of it is known too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gristmill_common::{
    State,
    job::{Change, Job, JobKey, Set},
};

/// How many jobs are known at most. Without them the store only reads more.
const MOST: usize = 4_096;

/// What is known.
#[derive(Clone, Default)]
pub(super) struct Known(Arc<Mutex<HashMap<JobKey, Job>>>);

/// What a change will make of a job, if the job has this version.
pub(super) struct Expected {
    pub(super) version: u64,
    pub(super) job: Job,
}

impl Known {
    /// Remembers those of the jobs that run.
    pub(super) fn remember<'a>(&self, jobs: impl Iterator<Item = &'a Job>) {
        let mut known = self.jobs();
        for job in jobs.filter(|job| job.state == State::Running) {
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(job.key.clone(), job.clone());
        }
    }

    /// What a change will make of a job that is known. Whatever becomes of the change, the job is known no longer.
    ///
    /// A heartbeat moves `wake_at` and leaves the version, so only a change that sets it can be foreseen.
    pub(super) fn expect(&self, change: &Change) -> Option<Expected> {
        let mut job = self.jobs().remove(&change.key)?;
        let foreseen = change.guard.lease.is_some()
            && change.guard.wake_at.is_none()
            && change.sets.iter().any(|set| matches!(set, Set::WakeAt(_)));
        let version = job.version;
        (foreseen && change.clone().apply(&mut job)).then_some(Expected { version, job })
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobKey, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
