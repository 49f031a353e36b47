//! Retry by hand: a job that failed or was cancelled runs again under its own id.

use gristmill_common::{
    TypeDefaults,
    job::{Change, IllegalTransition, Job, JobKey},
    message::JobEvent,
};

use crate::{Engine, EngineError, to_the_end};

impl Engine {
    /// Runs an ended job again: its attempts go on, and it gets as many more as its type has by default.
    ///
    /// # Errors
    /// There is no such job, it has not failed nor been cancelled, or the store failed.
    pub async fn retry(&self, key: &JobKey) -> Result<Job, EngineError> {
        let (engine, key) = (self.clone(), key.clone());
        to_the_end(async move {
            let job = engine
                .change_job(&key, |job| {
                    if job.is_abandoned() {
                        // It never came: there is nothing to run.
                        return Err(EngineError::Conflict { state: job.state, action: "retried" });
                    }
                    engine
                        .run_again(job)
                        .map_err(|illegal| EngineError::Conflict { state: illegal.state, action: "retried" })
                })
                .await?;
            engine.broker().announce(JobEvent::new(&key, job.state));
            engine.ring_for(&job);
            Ok(job)
        })
        .await
    }

    /// It gets as many more attempts as its type, if it is known, has by default.
    pub(super) fn run_again(&self, job: &Job) -> Result<Change, IllegalTransition> {
        let job_type = self.job_type(job.job_type.as_str());
        let defaults = job_type.map_or_else(|_| TypeDefaults::default(), |job_type| job_type.record().defaults);
        job.run_again(self.now(), defaults.max_attempts)
    }
}
