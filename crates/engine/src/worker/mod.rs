//! The worker: takes dispatches, claims jobs in batches, runs them, renews their leases, settles them.
//!
//! `intake` fills the inbox from the broker, `claim` turns what is in it into leases, `run` runs what is held,
//! `settle` ends it, `threads` has those for work that keeps a processor busy, `heartbeat` keeps the leases, `reports`
//! stores what handlers say, and `drain` gives back what cannot be finished. Dispatches of jobs that share a limit with
//! others pass `gates` before their claim: `slots`, then `tokens`; `release` gives slots back.

mod claim;
mod config;
mod drain;
mod gates;
mod heartbeat;
mod held;
mod inbox;
mod intake;
mod others;
mod queue_rates;
mod quotas;
mod registers;
mod release;
mod reports;
mod run;
mod settle;
mod slots;
mod threads;
mod tokens;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gristmill_common::{Timestamp, WorkerId};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use config::{InvalidSubscription, InvalidWeights, Subscription, Weights, WorkerConfig};
pub use intake::NotConsuming;
pub use threads::ThreadsStuck;

use crate::{Engine, trouble::Trouble};

/// Why a worker does not take all the work that it should take.
#[derive(Debug, thiserror::Error)]
pub enum NotWorking {
    /// Nothing comes of one of its queues.
    #[error(transparent)]
    NotConsuming(#[from] NotConsuming),
    /// It has no thread for work of class `Cpu`.
    #[error(transparent)]
    ThreadsStuck(#[from] ThreadsStuck),
}

/// The most jobs that it claims ahead of its free slots.
const MOST_AHEAD: usize = 1_000;
/// It claims ahead what it finishes in this time.
const AHEAD: Duration = Duration::from_millis(100);

/// A worker. Clones are the same worker.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    engine: Engine,
    config: WorkerConfig,
    id: WorkerId,
    started_at: Timestamp,
    inbox: inbox::Inbox,
    quotas: quotas::Quotas,
    queue_rates: queue_rates::QueueRates,
    at_gates: gates::AtGates,
    turns_told: tokens::TurnsTold,
    releases: release::Releases,
    others: others::Others,
    held: held::Held,
    slots: Arc<Semaphore>,
    threads: threads::Threads,
    /// Rung when a job was finished, or room was made in another way.
    room: Notify,
    pace: Pace,
    /// How many jobs were claimed in all.
    claimed: AtomicUsize,
    intake: intake::Intakes,
    /// What the store has not taken yet of what handlers said.
    kept: reports::Kept,
    /// How many leases were lost that nobody was told of yet.
    lost: AtomicUsize,
    not_renewed: Trouble,
    not_said: Trouble,
    not_announced: Trouble,
    not_reported: Trouble,
    not_claimed: Trouble,
    not_sorted: Trouble,
    not_put_off: Trouble,
    not_read: Trouble,
    not_known: Trouble,
    not_swapped: Trouble,
    not_parked: Trouble,
    not_told: Trouble,
    not_loaded: Trouble,
    not_settled: Trouble,
    given_up: Trouble,
    /// Trips when the last job is finished or given back: heartbeats go on until then.
    stopped: CancellationToken,
}

impl Worker {
    /// Makes a worker with a fresh id.
    #[must_use]
    pub fn new(engine: Engine, config: WorkerConfig) -> Self {
        Self(Arc::new(Inner {
            id: WorkerId::fresh(),
            started_at: engine.clock().now(),
            inbox: inbox::Inbox::new(config.weights),
            quotas: quotas::Quotas::of(&config.queues),
            queue_rates: queue_rates::QueueRates::default(),
            at_gates: gates::AtGates::default(),
            turns_told: tokens::TurnsTold::default(),
            releases: release::Releases::default(),
            others: others::Others::default(),
            held: held::Held::default(),
            slots: Arc::new(Semaphore::new(config.concurrency)),
            threads: threads::Threads::new(config.cpu_threads),
            room: Notify::new(),
            pace: Pace::default(),
            claimed: AtomicUsize::new(0),
            intake: intake::Intakes::default(),
            kept: reports::Kept::default(),
            lost: AtomicUsize::new(0),
            not_renewed: Trouble::new("leases were not renewed; trying again"),
            not_said: Trouble::new("the worker could not say that it lives; trying again"),
            not_announced: Trouble::new("a job type was not announced; trying again"),
            not_reported: Trouble::new("progress and log lines were not stored; trying again"),
            not_claimed: Trouble::new("a claim got no clear answer; reading back what it holds"),
            not_sorted: Trouble::new("jobs that a claim did not get could not be read; trying again"),
            not_put_off: Trouble::new("jobs could not be put off; they are rung again by their own clocks"),
            not_read: Trouble::new("slots and rates could not be read; their jobs wait"),
            not_known: Trouble::new("a newer build has written slots or rates; their jobs are passed on to others"),
            not_swapped: Trouble::new("slots and rates could not be changed; trying again"),
            not_parked: Trouble::new("jobs whose gates are shut could not be parked; trying again"),
            not_told: Trouble::new("jobs that wait for a slot were not told of one; trying again"),
            not_loaded: Trouble::new("payloads could not be read; their jobs are given back"),
            not_settled: Trouble::new("what became of jobs could not be stored; trying again"),
            given_up: Trouble::new("what became of jobs was not stored before their leases ended; they will run again"),
            stopped: CancellationToken::new(),
            engine,
            config,
        }))
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// Works until the engine's shutdown, then drains: jobs that run may finish for a while, the others are given
    /// back uncharged.
    pub async fn run(&self) {
        let intake = tokio::spawn(self.clone().take_in());
        let (to_gates, candidates) = mpsc::unbounded_channel();
        let claims = tokio::spawn(self.clone().claim_what_comes(to_gates));
        let gates = tokio::spawn(self.clone().keep_gates(candidates));
        let releases = tokio::spawn(self.clone().give_slots_back());
        let heartbeats = tokio::spawn(self.clone().keep_leases());
        let leases = tokio::spawn(self.clone().watch_leases());
        let reports = tokio::spawn(self.clone().store_reports());
        let pace = tokio::spawn(self.clone().measure_pace());
        self.0.engine.shutdown().cancelled().await;
        // No more is claimed once these have stopped.
        let _ = tokio::join!(intake, claims, gates);
        self.drain().await;
        self.0.stopped.cancel();
        let _ = tokio::join!(heartbeats, leases, reports, pace, releases);
        self.say_goodbye().await;
    }

    /// Whether it takes all the work that it should take.
    ///
    /// # Errors
    /// What it does not take, and why.
    pub fn check(&self) -> Result<(), NotWorking> {
        self.check_intake()?;
        Ok(self.0.threads.check()?)
    }

    /// How many more jobs it may hold now: its free slots, and what it finishes in a tenth of a second.
    fn room(&self) -> usize {
        (self.0.config.concurrency + self.0.pace.ahead()).saturating_sub(self.0.held.len() + self.0.at_gates.len())
    }

    async fn measure_pace(self) {
        let mut tick = tokio::time::interval(AHEAD);
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => return,
                _ = tick.tick() => self.0.pace.tick(),
            }
        }
    }
}

/// How many jobs are finished in a tenth of a second.
#[derive(Default)]
struct Pace {
    finished: AtomicUsize,
    ahead: AtomicUsize,
}

impl Pace {
    fn finished_one(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Follows a rise at once and a fall by halves, so that one stall does not empty the pipeline.
    fn tick(&self) {
        let latest = self.finished.swap(0, Ordering::Relaxed).min(MOST_AHEAD);
        let before = self.ahead.load(Ordering::Relaxed);
        self.ahead.store(latest.max(before / 2), Ordering::Relaxed);
    }

    fn ahead(&self) -> usize {
        self.ahead.load(Ordering::Relaxed)
    }
}
