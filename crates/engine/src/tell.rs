//! What is counted, logged and announced when an attempt has ended: by its worker, or by a duty when there is none.

use gristmill_common::{State, job::Job, message::JobEvent};

use crate::Engine;

impl Engine {
    /// Tells of a job as the store has it now. Call it after the write, so that nothing is told of that did not
    /// happen, nor twice by two who were at it.
    pub(crate) fn tell(&self, job: &Job) {
        metrics::counter!("gristmill_jobs_settled_total", "state" => job.state.as_str()).increment(1);
        match (&job.error, job.state) {
            (Some(error), State::Failed) => {
                metrics::counter!("gristmill_dead_letters_total", "type" => job.job_type.to_string()).increment(1);
                tracing::warn!(
                    job.id = %job.key.id, job.type = %job.job_type, job.attempt = job.attempt,
                    error.code = %error.code, error.message = %error.message, "job failed: a dead letter"
                );
            }
            (Some(error), State::Scheduled) => tracing::info!(
                job.id = %job.key.id, job.type = %job.job_type, job.attempt = job.attempt,
                error.code = %error.code, error.message = %error.message, "attempt failed, another will be made"
            ),
            _ => tracing::debug!(job.id = %job.key.id, job.type = %job.job_type, state = %job.state, "job settled"),
        }
        self.broker().announce(JobEvent::new(&job.key, job.state));
    }
}
