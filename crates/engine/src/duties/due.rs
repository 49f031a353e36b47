//! Due: scheduled jobs whose time has come may be claimed.

use gristmill_common::{State, Timestamp};
use gristmill_storage::{DueScan, StoreError};

use super::{BATCH, BATCHES_A_TICK, Scheduler};

impl Scheduler {
    pub(super) async fn queue_what_is_due(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut moved = 0;
        for _ in 0..BATCHES_A_TICK {
            let scan = DueScan { state: State::Scheduled, lane: None, until: now, after: None, limit: BATCH };
            let due = self.asked(self.engine.store().due(&scan)).await?;
            let full = due.len() == BATCH;
            moved += self.apply_and_tell(due.iter().filter_map(|job| job.due(now).ok()).collect()).await?.len();
            if !full {
                break;
            }
        }
        Ok(moved)
    }
}
