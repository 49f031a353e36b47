//! A node: what a process of the product is, on a thread and a runtime of its own, so that it can be killed and frozen
//! as a process can.

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use gristmill_broker::Broker;
use gristmill_common::{Clock, job::Limits};
use gristmill_engine::{Engine, EngineConfig, Lead, Scheduler, SchedulerConfig, Worker, WorkerConfig};
use gristmill_handlers::Registry;
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::{broker::FaultyBroker, mood::Mood, place::Place, store::FaultyStore};
use crate::witness::{Act, Witness};

/// How long a lease holds. A worker stops its handlers half a second before its end.
pub(crate) const LEASE: Duration = Duration::from_millis(1_200);
const HEARTBEAT: Duration = Duration::from_millis(200);
const LEADER_LEASE: Duration = Duration::from_millis(600);
const TICK: Duration = Duration::from_millis(20);
/// How long a node that is asked to stop lets its jobs finish.
const DRAIN: Duration = Duration::from_millis(200);
/// Deaths are not held against jobs here: their number is the plan's doing.
const MAX_RESCUES: u32 = 1_000;

/// What a node is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) place: Place,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mood: Arc<Mood>,
    pub(crate) clock: Clock,
    pub(crate) witness: Witness,
    pub(crate) lead: Lead,
}

/// A running node. It is killed when it is dropped.
pub(crate) struct Node {
    engine: Engine,
    runtime: runtime::Handle,
    killed: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Node {
    /// Starts a node, and returns when its engine has started.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub(crate) async fn start(parts: Parts) -> anyhow::Result<Self> {
        let (tell, told) = oneshot::channel();
        let killed = CancellationToken::new();
        let until = killed.clone();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error.into()))),
            };
            runtime.block_on(live(parts, tell, until));
            // Whatever was under way breaks off where it stands.
            runtime.shutdown_background();
        });
        let (engine, runtime) = told.await.context("a node ended before it had started")??;
        Ok(Self { engine, runtime, killed, thread: Some(thread) })
    }

    /// Its engine.
    pub(crate) fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// Where its work is done: what is spawned there ends with it.
    pub(crate) fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }

    /// Nothing happens on it for so long: not a timer, not a handler, not a heartbeat.
    pub(crate) fn freeze(&self, time: Duration) {
        self.runtime.spawn(async move { thread::sleep(time) });
    }

    /// Asks it to stop in good order; it does so by itself.
    pub(crate) fn drain(&self) {
        self.engine.shutdown().cancel();
    }

    /// Ends it where it stands, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.killed.cancel();
        if let Some(thread) = self.thread.take() {
            // A frozen one goes first on.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.killed.cancel();
    }
}

type Started = anyhow::Result<(Engine, runtime::Handle)>;

async fn live(parts: Parts, tell: oneshot::Sender<Started>, killed: CancellationToken) {
    let started = start(parts).await;
    let (engine, worker, scheduler) = match started {
        Ok(started) => started,
        Err(error) => return drop(tell.send(Err(error))),
    };
    drop(tell.send(Ok((engine, runtime::Handle::current()))));
    tokio::spawn(async move { worker.run().await });
    tokio::spawn(async move { scheduler.run().await });
    killed.cancelled().await;
}

async fn start(parts: Parts) -> anyhow::Result<(Engine, Worker, Scheduler)> {
    let store = FaultyStore {
        store: parts.place.open().await?,
        mood: parts.mood.clone(),
        clock: parts.clock.clone(),
        witness: parts.witness.clone(),
    };
    let broker = Arc::new(FaultyBroker { broker: parts.broker, mood: parts.mood });
    let id = Arc::new(OnceLock::new());
    let registry = Registry::default().with(Act { witness: parts.witness, worker: id.clone() })?;
    let limits = Limits { max_rescues: MAX_RESCUES, ..Limits::default() };
    let config = EngineConfig { limits, ..EngineConfig::default() };
    let engine =
        Engine::start(Arc::new(store), broker, registry, parts.clock, config, CancellationToken::new()).await?;
    let worker = Worker::new(
        engine.clone(),
        WorkerConfig { concurrency: 8, lease: LEASE, heartbeat: HEARTBEAT, drain: DRAIN, ..WorkerConfig::default() },
    );
    let _ = id.set(worker.id());
    let scheduler = Scheduler::new(
        engine.clone(),
        SchedulerConfig { tick: TICK, leader_lease: LEADER_LEASE, lease: LEASE, lead: parts.lead },
    );
    Ok((engine, worker, scheduler))
}
