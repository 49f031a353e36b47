//! The lead: one scheduler at a time works. Two at once do no harm.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, LeaderRecord, Timestamp, WorkerId};

use super::Scheduler;

/// Whether this scheduler leads, and what it tells the submitters.
pub(super) struct Lead {
    id: WorkerId,
    leading: AtomicBool,
    /// Since when the store has been within reach without a break.
    reached_since: Mutex<Instant>,
    backlog: Mutex<Backlog>,
    swept: Mutex<Option<Timestamp>>,
}

#[derive(Default)]
struct Backlog {
    bands: Vec<BandKey>,
    /// Not yet told.
    news: bool,
}

impl Lead {
    pub(super) fn new(id: WorkerId) -> Self {
        Self {
            id,
            leading: AtomicBool::new(false),
            reached_since: Mutex::new(Instant::now()),
            backlog: Mutex::default(),
            swept: Mutex::default(),
        }
    }

    pub(super) fn is_leading(&self) -> bool {
        self.leading.load(Ordering::Relaxed)
    }

    /// The store did not answer: leases may have run out for no fault of their workers.
    pub(super) fn lost_the_store(&self) {
        *locked(&self.reached_since) = Instant::now();
    }

    /// For how long the store has been within reach.
    pub(super) fn reached_store_for(&self) -> Duration {
        locked(&self.reached_since).elapsed()
    }

    /// These bands have work that was not dispatched yet.
    pub(super) fn set_backlog(&self, bands: Vec<BandKey>) {
        let mut backlog = locked(&self.backlog);
        if backlog.bands != bands {
            *backlog = Backlog { bands, news: true };
        }
    }

    /// Whether the last sweep was so long ago; if so, this counts as one.
    pub(super) fn is_time_to_sweep(&self, now: Timestamp, every: Duration) -> bool {
        let mut swept = locked(&self.swept);
        let due = swept.is_none_or(|at| now.since(at) >= every);
        if due {
            *swept = Some(now);
        }
        due
    }

    fn has_news(&self) -> bool {
        locked(&self.backlog).news
    }

    fn take_backlog(&self) -> Vec<BandKey> {
        let mut backlog = locked(&self.backlog);
        backlog.news = false;
        backlog.bands.clone()
    }
}

impl Scheduler {
    /// Takes the lead when nobody has it, and keeps it.
    pub(super) async fn keep_the_lead(&self) {
        let renew_every = self.config.leader_lease / 3;
        let mut renewed: Option<Instant> = None;
        while !self.engine.shutdown().is_cancelled() {
            if renewed.is_none_or(|at| at.elapsed() >= renew_every) || self.lead.has_news() {
                let now = self.engine.now();
                let record = LeaderRecord {
                    holder: self.lead.id,
                    until: now + self.config.leader_lease,
                    backlog: self.lead.take_backlog(),
                };
                let outcome = self.engine.store().lead(record, now).await;
                if outcome.is_err() {
                    self.lead.lost_the_store();
                }
                let leads = self.not_leading.after(outcome).unwrap_or(false);
                if self.lead.leading.swap(leads, Ordering::Relaxed) != leads {
                    self.tell_who_leads();
                }
                renewed = Some(Instant::now());
            }
            // Not later than the next renewal, and soon enough to tell submitters of a backlog.
            self.engine.sleeps_through(self.config.tick.min(renew_every)).await;
        }
    }

    fn tell_who_leads(&self) {
        let leads = self.lead.is_leading();
        metrics::gauge!("gristmill_scheduler_leading").set(u8::from(leads));
        tracing::info!(scheduler.id = %self.lead.id, leads, "the lead has changed");
    }

    /// Leaves the lead to another, so that it need not wait for the lease to end.
    pub(super) async fn resign(&self) {
        if self.lead.is_leading() {
            let now = self.engine.now();
            let record = LeaderRecord { holder: self.lead.id, until: now, backlog: Vec::new() };
            if let Err(error) = self.engine.store().lead(record, now).await {
                tracing::debug!(%error, "the lead ends with its lease");
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
