//! Cancel: at once if the job has not started, else its handler is asked to stop.

use gristmill_common::{
    job::{Job, JobKey},
    message::JobEvent,
};

use crate::{Engine, EngineError, to_the_end};

impl Engine {
    /// Cancels a job. One that runs goes on until its handler hears of it: `cancel_requested` says so.
    ///
    /// # Errors
    /// There is no such job, it has ended, or the store failed.
    pub async fn cancel(&self, key: &JobKey) -> Result<Job, EngineError> {
        let (engine, key) = (self.clone(), key.clone());
        to_the_end(async move {
            let job = engine
                .change_job(&key, |job| {
                    job.cancel(engine.now(), engine.limits())
                        .map_err(|illegal| EngineError::Conflict { state: illegal.state, action: "cancelled" })
                })
                .await?;
            engine.broker().announce(JobEvent::new(&key, job.state));
            Ok(job)
        })
        .await
    }
}
