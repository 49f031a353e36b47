//! What the leading scheduler sees to, one duty a file. Each reads a bounded range of an index and acts by
//! compare-and-set, so two leaders at once do no harm: leadership only saves work.

mod deadlines;
mod due;
mod lead;
mod purge;
mod redispatch;
mod rescue;
mod sweep;

use std::{sync::Arc, time::Duration};

use gristmill_common::{
    WorkerId,
    job::{Change, Job},
    message::JobEvent,
};
use gristmill_storage::StoreError;

use crate::Engine;

/// How many jobs a duty takes at a time.
const BATCH: usize = 500;

/// How a scheduler works.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// How often the duties are seen to.
    pub tick: Duration,
    /// How long the lead holds without being renewed.
    pub leader_lease: Duration,
    /// How long a worker's lease holds without a heartbeat: nothing is rescued before the store has been within
    /// reach for so long.
    pub lease: Duration,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self { tick: Duration::from_millis(500), leader_lease: Duration::from_secs(5), lease: Duration::from_secs(10) }
    }
}

/// A scheduler: sees to the duties while it leads.
pub struct Scheduler {
    engine: Engine,
    config: SchedulerConfig,
    lead: Arc<lead::Lead>,
}

impl Scheduler {
    /// Makes a scheduler with a fresh id.
    #[must_use]
    pub fn new(engine: Engine, config: SchedulerConfig) -> Self {
        Self { engine, config, lead: Arc::new(lead::Lead::new(WorkerId::fresh())) }
    }

    /// Works until the engine's shutdown.
    pub async fn run(&self) {
        tokio::join!(self.keep_the_lead(), self.feed_the_broker(), self.see_to_duties());
        self.resign().await;
    }

    /// Gives back every running job at once: right after a process has started that owns its store alone, so
    /// that whoever ran them is gone.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn rescue_what_ran_before(&self) -> Result<usize, StoreError> {
        self.rescue_expired(gristmill_common::Timestamp::MAX).await
    }

    async fn see_to_duties(&self) {
        let mut tick = tokio::time::interval(self.config.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.engine.shutdown().cancelled() => return,
                _ = tick.tick() => {}
            }
            if !self.lead.is_leading() {
                continue;
            }
            let now = self.engine.now();
            self.seen_to("due", self.queue_what_is_due(now).await);
            self.seen_to("deadlines", self.expire_what_is_overdue(now).await);
            if self.lead.reached_store_for() >= self.config.lease {
                self.seen_to("rescue", self.rescue_expired(now).await);
            }
            self.seen_to("purge", self.purge_what_is_old(now).await);
            self.seen_to("sweep", self.sweep_leftovers(now).await);
        }
    }

    fn seen_to(&self, duty: &'static str, outcome: Result<usize, StoreError>) {
        match outcome {
            Ok(0) => {}
            Ok(jobs) => metrics::counter!("gristmill_duty_jobs_total", "duty" => duty).increment(jobs as u64),
            Err(error) => {
                self.lead.lost_the_store();
                tracing::warn!(duty, %error, "a duty was not seen to; trying again");
            }
        }
    }

    /// Applies what was decided on jobs as they were read, and tells those who wait. Says how many changed.
    async fn apply_and_tell(&self, changes: Vec<Change>) -> Result<usize, StoreError> {
        if changes.is_empty() {
            return Ok(0);
        }
        let changed: Vec<Job> = self.engine.store().apply(changes).await?.into_iter().flatten().collect();
        for job in &changed {
            self.engine.broker().announce(JobEvent::new(&job.key, job.state));
        }
        Ok(changed.len())
    }
}
