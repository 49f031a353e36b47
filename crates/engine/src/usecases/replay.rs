//! Dead letters, many at a time: run again or erased, the oldest first, at a pace that leaves room for others.
//!
//! What was run again or erased is no dead letter any more, so a call that broke off is gone on with by the same call.

use std::time::{Duration, Instant};

use gristmill_common::{
    Tenant, Timestamp,
    http::{Discarded, FieldError, ReplayRequest, Replayed},
    job::{Change, Job},
    message::JobEvent,
};
use gristmill_storage::{JobFilter, ListQuery, Order, Page, Position, Removal, StoreError};

use crate::{Engine, EngineError, to_the_end};

/// How many in one write.
const BATCH: usize = 100;
/// How many in a second, so that newcomers are not held up.
const PER_SECOND: f64 = 500.0;
/// How many in one call, if it says nothing.
const DEFAULT_LIMIT: u32 = 1_000;
const MOST: u32 = 10_000;
/// A page reads at most so many index entries.
const SCAN_LIMIT: usize = 10_000;

/// How far a call has come.
struct Walk {
    filter: JobFilter,
    before: Timestamp,
    after: Option<Position>,
    began: Instant,
    /// How many more it may take.
    left: usize,
    done: u64,
    /// Whether there may be more of them.
    more: bool,
}

impl Engine {
    /// Runs dead letters again, as [`Engine::retry`] does one. A caller that goes away stops it after a batch.
    ///
    /// # Errors
    /// The request makes no sense, or the store failed; some may then run again already.
    pub async fn replay(&self, tenant: &Tenant, request: ReplayRequest) -> Result<Replayed, EngineError> {
        let mut walk = Walk::new(request, self.now())?;
        while let Some(jobs) = self.next_dead_letters(tenant, &mut walk).await? {
            let engine = self.clone();
            walk.done += to_the_end(async move { engine.replay_batch(&jobs).await }).await?;
            walk.keep_pace().await;
        }
        Ok(Replayed { replayed: walk.done, failed_before: walk.before, more: walk.more })
    }

    /// Erases dead letters, as [`Engine::delete`] does one. A caller that goes away stops it after a batch.
    ///
    /// # Errors
    /// The request makes no sense, or the store failed; some may then be gone already.
    pub async fn discard(&self, tenant: &Tenant, request: ReplayRequest) -> Result<Discarded, EngineError> {
        let mut walk = Walk::new(request, self.now())?;
        while let Some(jobs) = self.next_dead_letters(tenant, &mut walk).await? {
            let engine = self.clone();
            walk.done += to_the_end(async move { engine.discard_batch(jobs).await }).await?;
            walk.keep_pace().await;
        }
        Ok(Discarded { discarded: walk.done, failed_before: walk.before, more: walk.more })
    }

    /// The next of them; `None` when the call has done its work, or the process stops.
    async fn next_dead_letters(&self, tenant: &Tenant, walk: &mut Walk) -> Result<Option<Vec<Job>>, StoreError> {
        if walk.left == 0 || !walk.more || self.0.shutdown.is_cancelled() {
            return Ok(None);
        }
        let query = ListQuery {
            tenant: tenant.clone(),
            filter: walk.filter.clone(),
            order: Order::FailedOldestFirst,
            after: walk.after,
            limit: walk.left.min(BATCH),
            scan_limit: SCAN_LIMIT,
        };
        let Page { jobs, next } = self.store().list(&query).await?;
        walk.left -= jobs.len().min(walk.left);
        (walk.after, walk.more) = (next, next.is_some());
        Ok(Some(jobs))
    }

    async fn replay_batch(&self, jobs: &[Job]) -> Result<u64, StoreError> {
        let changes: Vec<Change> = jobs.iter().filter_map(|job| self.run_again(job).ok()).collect();
        if changes.is_empty() {
            return Ok(0);
        }
        let mut replayed = 0;
        // Whoever is left out was retried or erased by somebody else meanwhile.
        for job in self.store().apply(changes).await?.into_iter().flatten() {
            replayed += 1;
            tracing::info!(job.id = %job.key.id, job.type = %job.job_type, "a dead letter runs again");
            self.broker().announce(JobEvent::new(&job.key, job.state));
            self.ring_for(&job);
        }
        metrics::counter!("gristmill_dead_letters_replayed_total").increment(replayed);
        Ok(replayed)
    }

    async fn discard_batch(&self, jobs: Vec<Job>) -> Result<u64, StoreError> {
        let jobs: Vec<Job> = jobs.into_iter().filter(|job| !self.may_be_fired_again(job)).collect();
        if jobs.is_empty() {
            return Ok(0);
        }
        let removal = |job: &Job| Removal { key: job.key.clone(), state: job.state, wake_at: job.wake_at };
        let removals: Vec<Removal> = jobs.iter().map(removal).collect();
        let removed = self.store().remove(&removals).await?;
        let erased: Vec<Job> = jobs.into_iter().zip(removed).filter_map(|(job, gone)| gone.then_some(job)).collect();
        for job in &erased {
            tracing::info!(job.id = %job.key.id, job.type = %job.job_type, "a dead letter is discarded");
        }
        self.free_keys(&erased).await;
        let discarded = erased.len() as u64;
        metrics::counter!("gristmill_dead_letters_discarded_total").increment(discarded);
        Ok(discarded)
    }
}

impl Walk {
    fn new(request: ReplayRequest, now: Timestamp) -> Result<Self, EngineError> {
        let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST).contains(&limit) {
            return Err(EngineError::InvalidReplay(vec![FieldError::new("/limit", "must be between 1 and 10000")]));
        }
        // What fails from now on has had its turn, whatever time the request names. Times are whole milliseconds: what
        // has failed in this one is before the next.
        let before = request.failed_before.map_or(now, |before| before.min(now + Duration::from_millis(1)));
        let filter = JobFilter {
            job_type: request.job_type,
            queue: request.queue,
            // Times are whole milliseconds: later than one is the next one or later.
            from: request.failed_after.map(|after| after + Duration::from_millis(1)),
            before: Some(before),
            ..JobFilter::default()
        };
        Ok(Self { filter, before, after: None, began: Instant::now(), left: limit as usize, done: 0, more: true })
    }

    /// Waits as long as what was done may take, if there is more to do.
    async fn keep_pace(&self) {
        if self.left > 0 && self.more {
            let due = self.began + Duration::from_secs_f64(self.done as f64 / PER_SECOND);
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
