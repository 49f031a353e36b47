//! From a request to a record: what was left out is filled in.

use std::time::{Duration, Instant};

use gristmill_common::{
    JobId, QueueName, State,
    http::JobRequest,
    job::{Job, JobKey},
};

use super::{Origin, check::check, fingerprint::fingerprint};
use crate::{Engine, EngineError, catalogue::JobType};

/// A record about to be stored, and its type.
pub(crate) struct Draft {
    pub(crate) job: Job,
    pub(crate) job_type: JobType,
}

impl Engine {
    /// Checks everything but the payload, and makes the record. Another process may have declared the queue or
    /// announced the type just before the request came, so it is looked for once more before anybody is told that it
    /// is not there.
    pub(crate) async fn draft(
        &self,
        origin: &Origin,
        id: JobId,
        request: &JobRequest,
        came: Instant,
    ) -> Result<Draft, EngineError> {
        match self.draft_as_known(origin, id, request) {
            Err(EngineError::UnknownJobType(_) | EngineError::UnknownQueue(_)) => {
                self.look_again(came).await?;
                self.draft_as_known(origin, id, request)
            }
            outcome => outcome,
        }
    }

    fn draft_as_known(&self, origin: &Origin, id: JobId, request: &JobRequest) -> Result<Draft, EngineError> {
        let job_type = self.job_type(&request.job_type)?;
        let queue = self.declared_queue(request.queue.as_deref())?;
        let now = self.now();
        let defaults = job_type.record().defaults;
        let mut errors = Vec::new();
        check(request, now, &mut errors);
        if !errors.is_empty() {
            return Err(EngineError::Invalid(errors));
        }
        let run_at = request.run_at.or(request.delay_ms.map(|delay| now + Duration::from_millis(delay)));
        let priority = request.priority.unwrap_or_default();
        let put_off = request.debounce.as_ref().map(|debounce| now + Duration::from_millis(debounce.wait_ms));
        let later = put_off.or(run_at.filter(|&at| at > now));
        let (state, wake_at) = match later {
            Some(at) => (State::Scheduled, at),
            // When it is stored, it is decided who rings.
            None => (State::Queued, now),
        };
        let key = JobKey { tenant: origin.tenant.clone(), id };
        let job = Job {
            queue,
            priority,
            state,
            wake_at,
            max_attempts: request.max_attempts.unwrap_or(defaults.max_attempts),
            backoff: request.backoff.unwrap_or(defaults.backoff),
            timeout_ms: request.timeout_ms.unwrap_or(defaults.timeout_ms),
            deadline: request.deadline,
            run_at,
            tags: request.tags.clone(),
            trace: origin.trace.clone(),
            fingerprint: origin.idempotency_key.is_some().then(|| fingerprint(request)),
            gates: Some(request.gates()).filter(|gates| !gates.is_open()).map(Box::new),
            ..Job::accepted(key, job_type.record().name.clone(), now)
        };
        Ok(Draft { job, job_type })
    }

    fn declared_queue(&self, name: Option<&str>) -> Result<QueueName, EngineError> {
        let Some(name) = name else { return Ok(QueueName::default()) };
        name.parse()
            .ok()
            .filter(|queue| self.0.board.has_queue(queue))
            .ok_or_else(|| EngineError::UnknownQueue(name.to_owned()))
    }
}
