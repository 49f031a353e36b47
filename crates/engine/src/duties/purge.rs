//! Purge: ended jobs that were kept for their time are erased, in small batches.

use gristmill_common::{State, Timestamp};
use gristmill_storage::{DueScan, Position, Removal, StoreError};

use super::Scheduler;

/// How many jobs are erased in one write: few, for the sake of those who wait for theirs.
const SMALL_BATCH: usize = 100;
/// How many such writes there are in one tick, for each state.
const WRITES_A_TICK: usize = 10;

impl Scheduler {
    pub(super) async fn purge_what_is_old(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut purged = 0;
        for state in [State::Succeeded, State::Failed, State::Cancelled] {
            let mut after = None;
            for _ in 0..WRITES_A_TICK {
                if self.engine.shutdown().is_cancelled() {
                    return Ok(purged);
                }
                let scan = DueScan { state, lane: None, until: now, after, limit: SMALL_BATCH };
                let old = self.engine.store().due(&scan).await?;
                after = old.last().map(|job| Position { at: job.wake_at, id: job.key.id });
                // A scheduler that was frozen would fire the instant of such a one again.
                let removals: Vec<Removal> = old
                    .iter()
                    .filter(|job| !self.engine.may_be_fired_again(job))
                    .map(|job| Removal { key: job.key.clone(), state: job.state, wake_at: job.wake_at })
                    .collect();
                if !removals.is_empty() {
                    let removed = self.engine.store().remove(&removals).await?;
                    purged += removed.into_iter().filter(|removed| *removed).count();
                }
                if old.len() < SMALL_BATCH {
                    break;
                }
            }
        }
        Ok(purged)
    }
}
