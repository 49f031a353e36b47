//! What people ask for, one file each.

pub(crate) mod cancel;
pub(crate) mod delete;
mod free_keys;
pub(crate) mod queues;
pub(crate) mod read;
pub(crate) mod replay;
pub(crate) mod retry;
pub(crate) mod schedules;
pub(crate) mod stats;
pub(crate) mod submit;
pub(crate) mod submit_text;
pub(crate) mod wait;

use gristmill_common::job::{Change, Job, JobKey};

use crate::{Engine, EngineError};

impl Engine {
    /// Reads a job, decides, and writes; if the job changed in between, reads and decides again.
    pub(crate) async fn change_job(
        &self,
        key: &JobKey,
        decide: impl Fn(&Job) -> Result<Change, EngineError>,
    ) -> Result<Job, EngineError> {
        loop {
            let change = decide(&self.job(key).await?.job)?;
            if let Some(changed) = self.store().apply(vec![change]).await?.pop().flatten() {
                return Ok(changed);
            }
        }
    }
}
