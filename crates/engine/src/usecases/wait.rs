//! Wait for a job to end.

use std::time::Duration;

use gristmill_common::job::JobKey;
use gristmill_storage::Found;

use crate::{Engine, EngineError};

/// An event may be lost: ask the store at least so often.
const ASK_EVERY: Duration = Duration::from_secs(2);

impl Engine {
    /// Waits until the job has ended, at most so long (the process may stop earlier), and returns it as it is.
    ///
    /// # Errors
    /// There is no such job, or the store could not be read.
    pub async fn wait(&self, key: &JobKey, patience: Duration) -> Result<Found, EngineError> {
        let until = tokio::time::Instant::now() + patience;
        let waiter = self.wait_for(key);
        loop {
            let mut woken = std::pin::pin!(waiter.woken());
            woken.as_mut().enable();
            let found = self.job(key).await?;
            let now = tokio::time::Instant::now();
            if found.job.state.is_terminal() || now >= until || self.0.shutdown.is_cancelled() {
                return Ok(found);
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(until.min(now + ASK_EVERY)) => {}
                () = self.0.shutdown.cancelled() => {}
            }
        }
    }
}
