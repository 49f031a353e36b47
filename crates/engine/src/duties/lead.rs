//! The lead: one scheduler at a time works. Two at once do no harm.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, LeaderRecord, Timestamp, WorkerId};
use tokio::sync::Notify;

use super::Scheduler;

/// Whether a scheduler asks before it leads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lead {
    /// One of those on a store leads, until its lease ends.
    #[default]
    Elected,
    /// It leads from the beginning, whoever else does: for one that has its store alone, and for tests.
    Always,
}

/// Whether this scheduler leads, and what it tells the submitters.
pub(super) struct Leadership {
    id: WorkerId,
    leading: AtomicBool,
    /// Since when the store has been within reach without a break.
    reached_since: Mutex<Instant>,
    backlog: Mutex<Backlog>,
    has_news: Notify,
    swept: Mutex<Option<Timestamp>>,
}

#[derive(Default)]
struct Backlog {
    bands: Vec<BandKey>,
    /// Not yet told.
    news: bool,
}

impl Leadership {
    pub(super) fn new(id: WorkerId) -> Self {
        Self {
            id,
            leading: AtomicBool::new(false),
            reached_since: Mutex::new(Instant::now()),
            backlog: Mutex::default(),
            has_news: Notify::new(),
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
            self.has_news.notify_one();
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
            let has_news = self.lead.has_news();
            if has_news || renewed.is_none_or(|at| at.elapsed() >= renew_every) {
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
                let elected = self.not_leading.after(outcome).unwrap_or(false);
                let leads = elected || self.config.lead == Lead::Always;
                let has_changed = self.lead.leading.swap(leads, Ordering::Relaxed) != leads;
                if has_changed {
                    self.tell_who_leads();
                }
                if elected && (has_changed || has_news) {
                    // Submitters in this process need not wait for their next reading.
                    self.engine.0.board.trouble.after(self.engine.refresh_board().await);
                }
                renewed = Some(Instant::now());
            }
            // A backlog is told at once, but not again and again without a pause.
            let pause = self.config.tick.min(renew_every);
            let stops = self.engine.sleeps_through(pause / 10).await;
            if !stops && !self.lead.has_news() {
                tokio::select! {
                    _ = self.engine.sleeps_through(pause - pause / 10) => {}
                    () = self.lead.has_news.notified() => {}
                }
            }
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
