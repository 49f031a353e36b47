//! Deadlines: jobs that have not started when their deadline passes become dead letters.

use gristmill_common::Timestamp;
use gristmill_storage::StoreError;

use super::{BATCH, BATCHES_A_TICK, Scheduler};

impl Scheduler {
    pub(super) async fn expire_what_is_overdue(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mut expired = 0;
        for _ in 0..BATCHES_A_TICK {
            let overdue = self.asked(self.engine.store().overdue(now, BATCH)).await?;
            let full = overdue.len() == BATCH;
            let limits = self.engine.limits();
            expired += self
                .apply_and_tell(overdue.iter().filter_map(|job| job.expire(now, limits).ok()).collect())
                .await?
                .len();
            if !full {
                break;
            }
        }
        Ok(expired)
    }
}
