//! A job that never came: what stands in its place, so that it does not come any more.

use std::time::Duration;

use bytes::Bytes;

use super::{HistoryEntry, Job, JobKey, NewJob, State, What};
use crate::{Body, Timestamp, TypeName};

/// How long it is kept: no write is on its way for so long.
const KEPT: Duration = Duration::from_secs(60 * 60);

impl Job {
    /// A cancelled job under an id whose submitter has written it into a key and has not been heard of since. Whoever
    /// takes the key over inserts this first: if the submitter was only slow, its job is refused.
    #[must_use]
    pub fn abandoned(key: JobKey, job_type: TypeName, now: Timestamp) -> NewJob {
        let mut job = Self {
            state: State::Cancelled,
            wake_at: now + KEPT,
            finished_at: Some(now),
            ..Self::accepted(key, job_type, now)
        };
        job.history.push(HistoryEntry::new(now, What::Cancelled));
        NewJob { job, payload: Body::Inline(Bytes::from_static(b"{}")), text: None }
    }

    /// Whether it is one that never came. A job that came was changed when it was cancelled.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.state == State::Cancelled && self.version == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JobId, Tenant, job::Limits};

    #[test]
    fn only_a_job_that_never_came_is_abandoned() {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let (now, sleep): (_, TypeName) = (Timestamp::from_millis(1_000), "sleep".parse().expect("a name"));
        let stone = Job::abandoned(key.clone(), sleep.clone(), now).job;
        assert!(stone.is_abandoned() && stone.state.is_terminal() && stone.gates.is_none());
        let mut cancelled = Job::accepted(key, sleep, now);
        let change = cancelled.cancel(now, &Limits::default()).expect("it may be cancelled");
        assert!(change.apply(&mut cancelled));
        assert!(cancelled.state == State::Cancelled && !cancelled.is_abandoned());
    }
}
