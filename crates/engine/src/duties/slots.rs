//! Slots that dead workers left behind, and jobs that wait for them.

use std::{collections::HashMap, time::Duration};

use gristmill_common::{
    State, Timestamp,
    job::{Change, Job, JobKey},
    limits::Slots,
};
use gristmill_storage::{Register, StoreError};

use super::{
    Scheduler,
    registers::{changed, removed},
};

/// How many keys are seen to at once: each may have a thousand holders.
const AT_ONCE: usize = 50;
/// How soon a key is looked at again whose holders are about to be rescued.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Frees the slots of claims that are over, and queues as many of those who wait as slots fell free.
    pub(super) async fn free_leaked_slots(&self, due: Vec<Register>, now: Timestamp) -> Result<usize, StoreError> {
        let (mut keys, mut freed) = (self.read::<Slots>(due).into_iter(), 0);
        loop {
            let some: Vec<_> = keys.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(freed);
            }
            freed += self.free_leaked_of(some, now).await?;
        }
    }

    async fn free_leaked_of(&self, keys: Vec<(Register, Slots)>, now: Timestamp) -> Result<usize, StoreError> {
        let job_key = |register: &Register, id| JobKey { tenant: register.key.tenant.clone(), id };
        let holders = keys
            .iter()
            .flat_map(|(register, slots)| slots.holders().iter().map(move |holder| job_key(register, holder.job)));
        let jobs = self.jobs_of(holders.collect()).await?;
        let (mut swaps, mut leaked, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (register, mut slots) in keys {
            let before = slots.holders().len();
            let waiting = slots.free_leaked(now, |holder| {
                let job = jobs.get(&job_key(&register, holder.job))?;
                (job.state == State::Running && job.lease == Some(holder.lease)).then_some(job.wake_at)
            });
            leaked.push(before - slots.holders().len());
            told.push(waiting.into_iter().map(|id| job_key(&register, id)).collect::<Vec<_>>());
            let due_at = slots.due_at(now).map(|at| at.max(now + LOOK_AGAIN));
            swaps.push(if slots.is_empty() { removed(register) } else { changed(register, &slots, due_at)? });
        }
        let outcomes = self.swap(swaps).await?;
        let leaked = leaked.into_iter().zip(&outcomes).filter(|(_, made)| **made).map(|(leaked, _)| leaked).sum();
        if leaked > 0 {
            metrics::counter!("gristmill_slots_leaked_total").increment(leaked as u64);
            tracing::info!(slots = leaked, "slots of claims that are over were freed");
        }
        let told = told.into_iter().zip(&outcomes).filter(|(_, made)| **made).flat_map(|(told, _)| told);
        self.queue_parked(told.collect(), now).await?;
        Ok(leaked)
    }

    /// Queues those of the jobs that wait for a gate. The others were told by somebody else, or have come by themselves.
    async fn queue_parked(&self, keys: Vec<JobKey>, now: Timestamp) -> Result<(), StoreError> {
        let jobs = self.jobs_of(keys).await?;
        let due: Vec<Change> =
            jobs.values().filter(|job| job.is_parked()).filter_map(|job| job.due(now).ok()).collect();
        self.apply_and_tell(due).await?;
        Ok(())
    }

    async fn jobs_of(&self, keys: Vec<JobKey>) -> Result<HashMap<JobKey, Job>, StoreError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let jobs = self.asked(self.engine.store().jobs(&keys)).await?;
        Ok(jobs.into_iter().flatten().map(|job| (job.key.clone(), job)).collect())
    }
}
