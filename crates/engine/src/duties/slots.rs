//! Slots that dead workers left behind, and jobs that wait for them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{
    LeaseId, State, Timestamp,
    job::{Change, Job, JobKey},
    limits::Slots,
};
use gristmill_storage::{Register, RegisterKey, StoreError};

use super::{
    Scheduler,
    registers::{changed, removed},
};

/// How many keys are seen to at once: each may have a thousand holders.
const AT_ONCE: usize = 50;
/// How soon a key is looked at again whose holders are about to be rescued.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many entries are suspected at once. Those beyond it are when there is room again.
const MOST_SUSPECTS: usize = 100_000;
/// One that was not looked at for so long is not due any more, or somebody else has seen to it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Entries whose jobs do not run under their leases. The claim of such a one may be on its way, and clocks do not tell
/// for how long: the leader's may be ahead of the worker's. But no worker begins a handler once a lease's time has
/// passed since it took the slot. So an entry is over when this scheduler has seen it so for that long, by no clock
/// that anybody can set.
#[derive(Default)]
pub(super) struct Suspects(Mutex<HashMap<Entry, Sight>>);

/// The key, and the job and the lease that hold a slot of it.
type Entry = (RegisterKey, JobKey, LeaseId);

/// When an entry was seen like that.
struct Sight {
    first: Instant,
    last: Instant,
}

impl Suspects {
    /// The entry's job does not run under its lease, as was read just now; says whether that is so for so long.
    fn has_been_for(&self, entry: Entry, lease: Duration, now: Instant) -> bool {
        let mut suspects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.len() >= MOST_SUSPECTS && !suspects.contains_key(&entry) {
            return false;
        }
        let sight = suspects.entry(entry).or_insert(Sight { first: now, last: now });
        sight.last = now;
        now - sight.first >= lease
    }

    /// The entry's job runs under its lease.
    fn clear(&self, entry: &Entry) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(entry);
    }

    fn forget_old_ones(&self, now: Instant) {
        let mut suspects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|_, sight| now - sight.last < FORGOTTEN_AFTER);
    }
}

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
        // Before the jobs are read: what is not there by then may come later.
        let looked_at = Instant::now();
        let jobs = self.jobs_of(holders.collect()).await?;
        self.suspects.forget_old_ones(looked_at);
        let (mut swaps, mut leaked, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for (register, mut slots) in keys {
            let before = slots.holders().len();
            let waiting = slots.free_leaked(now, |holder| {
                let key = job_key(&register, holder.job);
                let runs = jobs.get(&key).filter(|job| job.state == State::Running && job.lease == Some(holder.lease));
                let entry = (register.key.clone(), key, holder.lease);
                if let Some(job) = runs {
                    self.suspects.clear(&entry);
                    return Some(job.wake_at);
                }
                let is_over = self.suspects.has_been_for(entry, self.config.lease, looked_at);
                (!is_over).then_some(holder.until)
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
