#![doc = include_str!("../README.md")]

mod bell;
mod board;
mod bodies;
mod catalogue;
mod duties;
mod error;
mod tell;
mod trouble;
mod usecases;
mod waiters;
mod worker;

use std::{future::Future, sync::Arc, time::Duration};

use gristmill_broker::{Broker, BrokerError};
use gristmill_common::{Clock, QueueName, job::Limits};
use gristmill_handlers::Registry;
use gristmill_storage::Store;
use tokio_util::sync::CancellationToken;

pub use catalogue::JobType;
pub use duties::{Lead, Scheduler, SchedulerConfig};
pub use error::EngineError;
pub use gristmill_storage::{Found, JobFilter, Order, Ownership, StoreError};
pub use usecases::{
    queues::QueueStatus,
    read::{ListRequest, ResultBody},
    schedules::{Put, ScheduleStatus},
    stats::Stats,
    submit::Origin,
    submit_text::TextPart,
};
pub use worker::{
    InvalidSubscription, InvalidWeights, NotConsuming, NotWorking, Subscription, ThreadsStuck, Weights, Worker,
    WorkerConfig,
};

/// The bounds that the engine keeps to.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Retention and rescues.
    pub limits: Limits,
    /// The longest text that may be sent as a request's body, in bytes.
    pub max_text_bytes: u64,
    /// Queues declared at start, besides those that people declared.
    pub queues: Vec<QueueName>,
    /// How long a leader's lease holds without a renewal, as in [`SchedulerConfig::leader_lease`]: what a schedule has
    /// made is not deleted within two of them.
    pub leader_lease: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_text_bytes: 64 * 1024 * 1024,
            queues: vec![QueueName::default()],
            leader_lease: SchedulerConfig::default().leader_lease,
        }
    }
}

/// What every process holds: the store, the broker, and what it knows of the others. Clones are the same engine.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    clock: Clock,
    config: EngineConfig,
    registry: Registry,
    board: board::Board,
    bell: bell::Bell,
    waiters: waiters::Waiters,
    not_dropped: trouble::Trouble,
    not_freed: trouble::Trouble,
    shutdown: CancellationToken,
}

impl Engine {
    /// Starts an engine on a store and a broker: declares its queues, reads what others have left there, and
    /// keeps up with them until the shutdown. A store that cannot be used yet is waited for, whether it is not there,
    /// has no room, or a newer build has migrated it: what needs it fails until then.
    ///
    /// # Errors
    /// The store was reached, and has a record that cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        registry: Registry,
        clock: Clock,
        config: EngineConfig,
        shutdown: CancellationToken,
    ) -> Result<Self, EngineError> {
        let (bell, rung) = bell::Bell::new();
        let engine = Self(Arc::new(Inner {
            store,
            broker,
            clock,
            config,
            registry,
            board: board::Board::default(),
            bell,
            waiters: waiters::Waiters::default(),
            not_dropped: trouble::Trouble::new("blobs were not dropped; the collector will"),
            not_freed: trouble::Trouble::new("keys of erased jobs were not freed; whoever asks for them will"),
            shutdown,
        }));
        match engine.refresh_board().await {
            Ok(()) => {}
            Err(error) if may_pass(&error) => engine.0.board.trouble.met(&error),
            Err(error) => return Err(error.into()),
        }
        tokio::spawn(engine.clone().keep_board_fresh());
        tokio::spawn(engine.clone().publish_what_is_rung(rung));
        tokio::spawn(engine.clone().mark_what_was_rung());
        tokio::spawn(engine.clone().wake_the_waiters());
        Ok(engine)
    }

    /// The clock that the engine goes by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Whether the store answers: for readiness.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping_store(&self) -> Result<(), StoreError> {
        self.0.store.ping().await
    }

    /// Whether the broker answers: for readiness.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping_broker(&self) -> Result<(), BrokerError> {
        self.0.broker.ping().await
    }

    /// Trips when the process is about to stop.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    fn broker(&self) -> &dyn Broker {
        &*self.0.broker
    }

    fn now(&self) -> gristmill_common::Timestamp {
        self.0.clock.now()
    }

    fn limits(&self) -> &Limits {
        &self.0.config.limits
    }
}

/// Whether it may be over by and by, by itself or because somebody sees to it.
fn may_pass(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_)
        | StoreError::OutOfSpace(_)
        | StoreError::Overloaded
        | StoreError::NewerSchema { .. } => true,
        StoreError::UploadExpired(_)
        | StoreError::InUse(_)
        | StoreError::NotADatabase { .. }
        | StoreError::Url(_)
        | StoreError::Corrupt(_) => false,
    }
}

/// Runs to its end even if whoever waits for it goes away: a client that hangs up never leaves a half-done write.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        // The runtime is going down, and whoever waits here with it.
        Err(_) => std::future::pending().await,
    }
}
