//! Jobs for tests, and the few calls that most tests make.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gristmill_common::{
    Body, JobId, LeaseId, Tenant, Timestamp, WorkerId,
    job::{Change, Job, JobKey, Limits, NewJob},
};

use crate::{Claim, Inserted, Store, Whom};

/// So many milliseconds after the moment at which tests begin.
#[must_use]
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + Duration::from_millis(millis)
}

/// A queued job of the tenant `default` that wants to run now.
#[must_use]
pub fn job(now: Timestamp) -> NewJob {
    job_of(Tenant::default(), now)
}

/// A queued job of a tenant that wants to run now.
#[must_use]
pub fn job_of(tenant: Tenant, now: Timestamp) -> NewJob {
    let key = JobKey { tenant, id: JobId::fresh() };
    let job_type = "sleep".parse().expect("a name");
    let job = Job { max_attempts: 3, timeout_ms: 60_000, ..Job::accepted(key, job_type, now) };
    NewJob { job, payload: text("{}"), text: None }
}

/// A body of this text.
#[must_use]
pub fn text(text: &str) -> Body {
    Body::Inline(Bytes::copy_from_slice(text.as_bytes()))
}

/// Stores jobs that are not there yet.
pub async fn insert(store: &Arc<dyn Store>, jobs: impl IntoIterator<Item = NewJob>) {
    let outcomes = store.insert(jobs.into_iter().collect()).await.expect("the jobs are stored");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Inserted::Created)), "a job was there already");
}

/// A claim of any of these jobs, under a fresh lease of ten seconds.
#[must_use]
pub fn claim_of(keys: &[JobKey], now: Timestamp) -> Claim {
    Claim {
        keys: keys.to_vec(),
        lease: LeaseId::fresh(),
        worker: WorkerId::fresh(),
        now,
        until: now + Duration::from_secs(10),
        whom: Whom::Any,
    }
}

/// The job as the store has it, which it does.
pub async fn get(store: &Arc<dyn Store>, key: &JobKey) -> Job {
    store.get(key).await.expect("the store is read").expect("the job is there").job
}

/// The change that ends a running job well.
#[must_use]
pub fn succeed(job: &Job, now: Timestamp) -> Change {
    job.succeed(text("null"), now, &Limits::default()).expect("the job is running")
}
