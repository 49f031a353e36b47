//! The start of a process: from its settings to an engine on an open store and broker.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use gristmill_broker::{BrokerError, Reach};
use gristmill_common::{Clock, QueueName, job::Limits};
use gristmill_engine::{Engine, EngineConfig, EngineError, SchedulerConfig, WorkerConfig};
use gristmill_handlers::{Registry, RegistryError};
use gristmill_storage::{Ownership, StoreError};
use tokio_util::sync::CancellationToken;

use crate::{
    health::Readiness,
    settings::{Program, Settings, Sources},
    shutdown,
    telemetry::{self, Metrics, MetricsError},
};

/// How long a start waits for servers that are connected to, before it goes on without them: long enough for those
/// that are there.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// What every process has once it has started.
pub struct Process {
    /// The engine, on the store and the broker of the settings.
    pub engine: Engine,
    /// Who else uses the store.
    pub ownership: Ownership,
    /// Whether the store answers, and the broker. The API takes jobs while the broker is away, so that there it
    /// is only shown.
    pub readiness: Readiness,
    /// What is measured.
    pub metrics: Metrics,
}

/// A process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker cannot be opened.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The engine cannot start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Two handlers have the same name, or one has none.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Nothing can be measured.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The broker is inside one process, and this program is meant to share it with others.
    #[error(
        "broker.url: `embedded:` is inside one process and cannot be shared: use `gristmill serve`, which is all in one"
    )]
    BrokerNotShared,
    /// The store belongs to one process, and this program is meant to share it with others.
    #[error(
        "store.url: a data folder belongs to one process and cannot be shared: name a mongodb:// server, or use \
         `gristmill serve`, which is all in one"
    )]
    StoreNotShared,
    /// The store is shared with others, and the broker is not.
    #[error(
        "store.url and broker.url do not go together: others share this store, and may leave it to this process to \
         wake their workers, which `embedded:` cannot do: name their amqp:// server as well, or keep jobs in a data \
         folder (sqlite://)"
    )]
    StoreSharedAlone,
}

impl Process {
    /// Opens what the settings name, and starts an engine on it that has these handlers, and those for trying
    /// things out if the settings say so.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        program: Program,
        settings: &Settings,
        mut registry: Registry,
        shutdown: &CancellationToken,
    ) -> Result<Self, StartError> {
        let broker = gristmill_broker::open(settings.broker.url.expose()).await?;
        if program != Program::Embedded && broker.reach == Reach::ThisProcess {
            return Err(StartError::BrokerNotShared);
        }
        let metrics = Metrics::install()?;
        if settings.handlers.test_types {
            registry = gristmill_handlers::test_types(registry)?;
        }
        if settings.handlers.crash_type {
            registry = registry.with(gristmill_handlers::Crash)?;
        }
        let clock = Clock::start();
        let store = gristmill_storage::open(settings.store.url.expose(), &clock).await?;
        if program != Program::Embedded && store.ownership == Ownership::Exclusive {
            return Err(StartError::StoreNotShared);
        }
        if store.ownership == Ownership::Shared && broker.reach == Reach::ThisProcess {
            return Err(StartError::StoreSharedAlone);
        }
        let connected = async {
            while store.store.ping().await.is_err() || broker.broker.ping().await.is_err() {
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        if tokio::time::timeout(CONNECTED_WITHIN, connected).await.is_err() {
            tracing::warn!("the store or the broker is not there yet: starting all the same, and waiting for it");
        }
        let (guarded_store, guarded_broker) = (store.store.clone(), broker.broker.clone());
        let engine =
            Engine::start(store.store, broker.broker, registry, clock, engine_config(settings), shutdown.clone())
                .await?;
        tokio::spawn(metrics.clone().upkeep(shutdown.clone()));
        let asked = engine.clone();
        let readiness = Readiness::new().with("store", move || {
            let engine = asked.clone();
            async move { engine.ping_store().await }
        });
        let asked = engine.clone();
        let ping_broker = move || {
            let engine = asked.clone();
            async move { engine.ping_broker().await }
        };
        let readiness = match program {
            Program::Worker | Program::Scheduler => readiness.with("broker", ping_broker),
            Program::Api | Program::Embedded => readiness.showing("broker", ping_broker),
        };
        let readiness = readiness
            .breaker("store", move || guarded_store.breaker())
            .breaker("broker", move || guarded_broker.breaker());
        tokio::spawn(readiness.clone().measure(shutdown.clone()));
        Ok(Self { engine, ownership: store.ownership, readiness, metrics })
    }
}

/// What a program's `main` does: reads the settings, sets up the log, listens to signals, and runs the program
/// until it ends. What goes wrong is one line on stderr, and exit code 1.
pub fn run_program(
    program: Program,
    config: Option<PathBuf>,
    run: impl AsyncFnOnce(Settings, CancellationToken) -> Result<(), BoxError>,
) -> ExitCode {
    let outcome = || -> Result<(), BoxError> {
        let settings = Sources::new(program).file(config).process_environment().load()?;
        telemetry::init(&settings.log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let outcome = runtime.block_on(async {
            let shutdown = shutdown::on_signal()?;
            run(settings, shutdown).await
        });
        // A handler that does not stop must not hold up the end: its job has been given back.
        runtime.shutdown_background();
        outcome
    };
    match outcome() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whatever ended a program.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The part of the settings that concerns the engine.
fn engine_config(settings: &Settings) -> EngineConfig {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 60 * 60);
    let cancelled_days = match settings.retention.cancelled_days {
        0 => settings.retention.days,
        days => days,
    };
    EngineConfig {
        limits: Limits {
            retention: days(settings.retention.days),
            failed_retention: days(settings.retention.failed_days),
            cancelled_retention: days(cancelled_days),
            max_rescues: settings.scheduler.max_rescues,
        },
        max_text_bytes: settings.http.max_text_bytes,
        queues: settings.queues.declared.iter().cloned().chain([QueueName::default()]).collect(),
        leader_lease: Duration::from_millis(settings.scheduler.leader_lease_ms),
    }
}

/// The part of the settings that concerns a worker.
#[must_use]
pub fn worker_config(settings: &Settings) -> WorkerConfig {
    let worker = &settings.worker;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    WorkerConfig {
        concurrency: worker.concurrency,
        cpu_threads: if worker.cpu_threads == 0 { cores } else { worker.cpu_threads },
        queues: worker.queues.clone(),
        weights: worker.weights,
        lease: Duration::from_millis(worker.lease_ms),
        heartbeat: Duration::from_millis(worker.heartbeat_ms),
        drain: Duration::from_millis(worker.drain_ms),
    }
}

/// The part of the settings that concerns a scheduler.
#[must_use]
pub fn scheduler_config(settings: &Settings) -> SchedulerConfig {
    SchedulerConfig {
        tick: Duration::from_millis(settings.scheduler.tick_ms),
        leader_lease: Duration::from_millis(settings.scheduler.leader_lease_ms),
        lease: Duration::from_millis(settings.worker.lease_ms),
        ..SchedulerConfig::default()
    }
}
