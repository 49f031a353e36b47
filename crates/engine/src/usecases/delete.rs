//! Delete: an ended job and all that belongs to it is erased.

use gristmill_common::{
    job::{Job, JobKey},
    schedule::TAG_PREFIX,
};
use gristmill_storage::Removal;

use crate::{Engine, EngineError, to_the_end};

/// A scheduler makes no job of a decision that is older than a leader's lease. Twice that, for clocks differ.
const LEASES: u32 = 2;

impl Engine {
    /// Erases an ended job with its bodies and logs.
    ///
    /// # Errors
    /// There is no such job, it has not ended, a schedule has just made it, or the store failed.
    pub async fn delete(&self, key: &JobKey) -> Result<(), EngineError> {
        let (engine, key) = (self.clone(), key.clone());
        to_the_end(async move {
            loop {
                let job = engine.job(&key).await?.job;
                if !job.state.is_terminal() {
                    return Err(EngineError::Conflict { state: job.state, action: "deleted" });
                }
                if engine.may_be_fired_again(&job) {
                    return Err(EngineError::JustFired);
                }
                let removal = Removal { key: key.clone(), state: job.state, wake_at: job.wake_at };
                if engine.store().remove(&[removal]).await?.contains(&true) {
                    engine.free_keys(&[job]).await;
                    return Ok(());
                }
            }
        })
        .await
    }

    /// Whether a scheduler might still be about to fire the instant that made the job: one that leads beside another,
    /// or that was frozen. It would find the job by its id; if that were gone, it would make it again.
    pub(crate) fn may_be_fired_again(&self, job: &Job) -> bool {
        let is_fired = job.run_at.is_some() && job.tags.iter().any(|tag| tag.starts_with(TAG_PREFIX));
        is_fired && self.now().since(job.created_at) < LEASES * self.0.config.leader_lease
    }
}
