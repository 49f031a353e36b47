//! Settle: ends an attempt with one compare-and-set on its lease.

use std::{
    fmt::Display,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gristmill_common::{
    Body, State,
    job::{Change, IllegalTransition, Job},
};
use gristmill_storage::StoreError;

use super::{
    Worker,
    run::{Outcome, failure},
};

/// The longest result, in bytes.
const MOST_RESULT_BYTES: usize = 64 * 1024 * 1024;
/// How long to wait before a store is asked again that did not answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What became of a settle.
pub(super) enum Settled {
    /// It is written; this is the job afterwards.
    Written(Box<Job>),
    /// It is not, and never will be: the lease was lost.
    Refused,
    /// It is not, and never will be: the store has let go of the result.
    Expired,
    /// The store stayed away until the lease ended.
    Unknown,
}

impl Worker {
    /// Writes how an attempt of this job, as it was claimed, has ended.
    pub(super) async fn settle(&self, job: &Job, outcome: Outcome) {
        let engine = &self.0.engine;
        let limits = engine.limits();
        let settled = match outcome {
            Outcome::Lost => {
                tracing::debug!(job.id = %job.key.id, "the lease was lost");
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Outcome::GivenBack => self.decide_and_write(job, |job| job.release(engine.now(), limits)).await,
            Outcome::Failed(failure) => {
                let luck = fastrand::f64();
                self.decide_and_write(job, |job| job.fail(&failure, engine.now(), limits, luck)).await
            }
            Outcome::Succeeded(result) if result.len() > MOST_RESULT_BYTES => {
                let failure = failure("result_too_large", "the result is longer than 64 MiB", false);
                self.decide_and_write(job, |job| job.fail(&failure, engine.now(), limits, 0.0)).await
            }
            Outcome::Succeeded(result) => {
                let Some(body) = self.keep_result(job, result).await else { return };
                match self.decide_and_write(job, |job| job.succeed(body.clone(), engine.now(), limits)).await {
                    // After no answer the success may have been written: its blob is then left to the collector.
                    Settled::Refused => {
                        engine.drop_bodies(&[body]).await;
                        Settled::Refused
                    }
                    Settled::Expired => {
                        let failure = failure("result_expired", "the result could not be written in time", true);
                        let luck = fastrand::f64();
                        self.decide_and_write(job, |job| job.fail(&failure, engine.now(), limits, luck)).await
                    }
                    settled => settled,
                }
            }
        };
        if let Settled::Written(job) = settled {
            self.0.engine.tell(&job);
        }
    }

    /// Stores a result, trying for as long as the lease holds: the store's trouble is not the job's.
    async fn keep_result(&self, job: &Job, result: Bytes) -> Option<Body> {
        let engine = &self.0.engine;
        loop {
            match engine.keep_body(&job.key, result.clone()).await {
                Ok(body) => return Some(body),
                Err(error) if self.lease_has_ended(job) => {
                    self.give_up(job, &error);
                    return None;
                }
                Err(error) => {
                    self.0.not_settled.met(&error);
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
        }
    }

    /// The lease has ended, and with it the right to say what became of the job.
    fn give_up(&self, job: &Job, error: &impl Display) {
        tracing::debug!(job.id = %job.key.id, "an attempt could not be settled; the job will run again");
        self.0.given_up.met(error);
    }

    fn lease_has_ended(&self, job: &Job) -> bool {
        let hold = job.lease.map(|lease| (job.key.clone(), lease));
        let ends = hold.and_then(|hold| self.0.held.holds_until(&hold));
        ends.is_none_or(|ends| Instant::now() >= ends)
    }

    /// Decides on the job as it was last seen and writes; after a refusal or an ambiguous reply reads the job and
    /// decides again.
    pub(super) async fn decide_and_write(
        &self,
        claimed: &Job,
        decide: impl Fn(&Job) -> Result<Change, IllegalTransition>,
    ) -> Settled {
        let store = self.0.engine.store();
        let lease = claimed.lease;
        let mut seen = claimed.clone();
        loop {
            let Ok(change) = decide(&seen) else { return Settled::Refused };
            match store.apply(vec![change]).await {
                Ok(mut changed) => {
                    self.0.not_settled.over();
                    if let Some(job) = changed.pop().flatten() {
                        self.0.given_up.over();
                        return Settled::Written(Box::new(job));
                    }
                }
                Err(StoreError::UploadExpired(_)) => return Settled::Expired,
                Err(error) => {
                    tracing::debug!(job.id = %claimed.key.id, "a settle got no clear answer; reading back");
                    self.0.not_settled.met(&error);
                    tokio::time::sleep(ASK_AGAIN).await;
                }
            }
            loop {
                match store.get(&claimed.key).await {
                    // An earlier try was applied after all.
                    Ok(Some(found)) if found.job.settled_by == lease => return Settled::Written(Box::new(found.job)),
                    Ok(Some(found)) if found.job.state == State::Running && found.job.lease == lease => {
                        seen = found.job;
                        break;
                    }
                    Ok(_) => return Settled::Refused,
                    Err(error) => {
                        if self.lease_has_ended(claimed) {
                            self.give_up(claimed, &error);
                            return Settled::Unknown;
                        }
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            }
        }
    }
}
