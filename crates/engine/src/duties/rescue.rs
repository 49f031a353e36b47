//! Rescue: running jobs whose lease has ended are given to another worker.

use gristmill_common::{State, Timestamp};
use gristmill_storage::{DueScan, StoreError};

use super::{BATCH, BATCHES_A_TICK, Scheduler};

impl Scheduler {
    /// Rescues running jobs whose lease ended by this time, as many as one tick allows; says how many.
    pub(super) async fn rescue_expired(&self, ended_by: Timestamp) -> Result<usize, StoreError> {
        let (mut rescued, limits) = (0, self.engine.limits());
        for _ in 0..BATCHES_A_TICK {
            let scan = DueScan { state: State::Running, lane: None, until: ended_by, after: None, limit: BATCH };
            let expired = self.asked(self.engine.store().due(&scan)).await?;
            let full = expired.len() == BATCH;
            let now = self.engine.now();
            let moved =
                self.apply_and_tell(expired.iter().filter_map(|job| job.rescue(now, limits).ok()).collect()).await?;
            for job in moved.iter().filter(|job| job.state == State::Queued) {
                tracing::warn!(job.id = %job.key.id, job.type = %job.job_type, job.rescues, "the worker of a running job is gone; the job is rescued");
            }
            rescued += moved.len();
            // When none could be moved, others are at work on the same ones.
            if !full || moved.is_empty() {
                break;
            }
        }
        Ok(rescued)
    }
}
