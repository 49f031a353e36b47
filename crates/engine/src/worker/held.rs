//! The jobs that a worker holds leases of, whether they run or wait for a slot.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{
    LeaseId, QueueName,
    job::{Job, JobKey},
};
use gristmill_handlers::Reports;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Why a running job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked for it.
    Requested,
    /// The lease was lost, or could not be renewed: somebody else may run the job.
    LeaseLost,
    /// The worker shuts down.
    Draining,
}

/// A job under one lease: the same job may come back under another before the first is let go.
pub(crate) type Hold = (JobKey, LeaseId);

#[derive(Default)]
pub(crate) struct Held {
    jobs: Mutex<HashMap<Hold, Holding>>,
    /// Rung when the last one is let go.
    empty: Notify,
}

struct Holding {
    job: Arc<Job>,
    /// Reckoned from before the lease was asked for, and by no clock that anybody can set.
    until: Instant,
    cancelled: CancellationToken,
    stop: Option<Stop>,
    reports: Option<Reports>,
}

impl Held {
    /// Holds a job from its claim on; the token tells its handler to stop.
    ///
    /// One whose claim took longer than its lease is lost, and a renewal does not bring it back: the slot that it took
    /// may be another's by now.
    pub(crate) fn hold(&self, job: Arc<Job>, hold: Hold, until: Instant) -> CancellationToken {
        let cancelled = CancellationToken::new();
        let stop = (until <= Instant::now()).then_some(Stop::LeaseLost);
        if stop.is_some() {
            cancelled.cancel();
        }
        let holding = Holding { job, until, cancelled: cancelled.clone(), stop, reports: None };
        self.jobs().insert(hold, holding);
        cancelled
    }

    /// The job is about to run, and this is where to fetch what its handler says. Says whether its lease still holds:
    /// else it must not run.
    pub(crate) fn begins(&self, hold: &Hold, reports: Reports) -> bool {
        let mut jobs = self.jobs();
        let Some(holding) = jobs.get_mut(hold) else { return false };
        holding.reports = Some(reports);
        holding.until > Instant::now()
    }

    /// Lets a job go.
    pub(crate) fn release(&self, hold: &Hold) {
        let mut jobs = self.jobs();
        jobs.remove(hold);
        if jobs.is_empty() {
            self.empty.notify_waiters();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs().len()
    }

    /// How many jobs of this queue are held.
    pub(crate) fn count_of(&self, queue: &QueueName) -> usize {
        self.jobs().values().filter(|holding| holding.job.queue == *queue).count()
    }

    /// Whether one is held that must be alone: it was rescued more than once, so it may be what kills its workers.
    pub(crate) fn has_one_alone(&self) -> bool {
        self.jobs().values().any(|holding| holding.job.rescues > 1)
    }

    /// Waits until nothing is held, at most so long; says whether it came to that.
    pub(crate) async fn emptied_within(&self, patience: Duration) -> bool {
        let emptied = async {
            loop {
                let mut empty = std::pin::pin!(self.empty.notified());
                empty.as_mut().enable();
                if self.jobs().is_empty() {
                    return;
                }
                empty.await;
            }
        };
        tokio::time::timeout(patience, emptied).await.is_ok()
    }

    /// Everything held.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.jobs().keys().cloned().collect()
    }

    /// Everything held, as it was claimed.
    pub(crate) fn held_jobs(&self) -> Vec<Arc<Job>> {
        self.jobs().values().map(|holding| holding.job.clone()).collect()
    }

    /// The lease of this job was renewed.
    pub(crate) fn renewed(&self, hold: &Hold, until: Instant) {
        if let Some(holding) = self.jobs().get_mut(hold) {
            holding.until = until;
        }
    }

    /// Until when the lease of this job holds.
    pub(crate) fn holds_until(&self, hold: &Hold) -> Option<Instant> {
        self.jobs().get(hold).map(|holding| holding.until)
    }

    /// Tells the handler of a job to stop; says whether that is news. The first reason stands, unless the lease is
    /// lost.
    pub(crate) fn stop(&self, hold: &Hold, why: Stop) -> bool {
        let mut jobs = self.jobs();
        let Some(holding) = jobs.get_mut(hold) else { return false };
        let is_news = holding.stop.is_none() || (why == Stop::LeaseLost && holding.stop != Some(why));
        if is_news {
            holding.stop = Some(why);
        }
        holding.cancelled.cancel();
        is_news
    }

    /// Why a job was told to stop, if it was.
    pub(crate) fn stopped(&self, hold: &Hold) -> Option<Stop> {
        self.jobs().get(hold).and_then(|holding| holding.stop)
    }

    /// The jobs whose lease ends before this time.
    pub(crate) fn ending_before(&self, time: Instant) -> Vec<Hold> {
        self.jobs().iter().filter(|(_, holding)| holding.until < time).map(|(hold, _)| hold.clone()).collect()
    }

    /// The jobs that run, and where their handlers report.
    pub(crate) fn reporting(&self) -> Vec<(Arc<Job>, Reports)> {
        let jobs = self.jobs();
        jobs.values().filter_map(|holding| Some((holding.job.clone(), holding.reports.clone()?))).collect()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<Hold, Holding>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{Clock, JobId, Tenant, Timestamp};
    use gristmill_handlers::{Context, JobInfo};

    use super::*;

    #[test]
    fn a_job_that_comes_back_under_a_new_lease_is_not_let_go_nor_stopped_with_the_old_one() {
        let held = Held::default();
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let until = Instant::now() + Duration::from_secs(60);
        let [old, new] = [LeaseId::fresh(), LeaseId::fresh()].map(|lease| (key.clone(), lease));
        let job = Arc::new(Job::accepted(key.clone(), "sleep".parse().expect("a name"), Timestamp::from_millis(1)));
        held.hold(job.clone(), old.clone(), until);
        let runs = held.hold(job, new.clone(), until);
        held.stop(&old, Stop::LeaseLost);
        held.release(&old);
        assert_eq!(held.holds(), [new]);
        assert!(!runs.is_cancelled());
    }

    fn reports() -> Reports {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
        Context::new(info, Clock::start(), CancellationToken::new(), 1, None).1
    }

    #[test]
    fn a_job_whose_claim_took_longer_than_its_lease_is_not_brought_back_by_a_renewal() {
        let held = Held::default();
        let hold = (JobKey { tenant: Tenant::default(), id: JobId::fresh() }, LeaseId::fresh());
        let job = Job::accepted(hold.0.clone(), "sleep".parse().expect("a name"), Timestamp::from_millis(1));
        let cancelled = held.hold(Arc::new(job), hold.clone(), Instant::now());
        held.renewed(&hold, Instant::now() + Duration::from_secs(60));
        assert!(cancelled.is_cancelled() && held.stopped(&hold) == Some(Stop::LeaseLost));
    }

    #[test]
    fn a_job_whose_lease_has_ended_does_not_begin() {
        let held = Held::default();
        let hold = (JobKey { tenant: Tenant::default(), id: JobId::fresh() }, LeaseId::fresh());
        let job = Arc::new(Job::accepted(hold.0.clone(), "sleep".parse().expect("a name"), Timestamp::from_millis(1)));
        assert!(!held.begins(&hold, reports()), "it is not held");
        let later = Instant::now() + Duration::from_secs(60);
        held.hold(job, hold.clone(), later);
        held.renewed(&hold, Instant::now());
        assert!(!held.begins(&hold, reports()));
        held.renewed(&hold, later);
        assert!(held.begins(&hold, reports()));
        assert_eq!(held.count_of(&QueueName::default()), 1);
    }
}
