//! Delete: an ended job and all that belongs to it is erased.

use gristmill_common::job::JobKey;
use gristmill_storage::Removal;

use crate::{Engine, EngineError, to_the_end};

impl Engine {
    /// Erases an ended job with its bodies and logs.
    ///
    /// # Errors
    /// There is no such job, it has not ended, or the store failed.
    pub async fn delete(&self, key: &JobKey) -> Result<(), EngineError> {
        let (engine, key) = (self.clone(), key.clone());
        to_the_end(async move {
            loop {
                let job = engine.job(&key).await?.job;
                if !job.state.is_terminal() {
                    return Err(EngineError::Conflict { state: job.state, action: "deleted" });
                }
                let removal = Removal { key: key.clone(), state: job.state, wake_at: job.wake_at };
                if engine.store().remove(&[removal]).await?.contains(&true) {
                    return Ok(());
                }
            }
        })
        .await
    }
}
