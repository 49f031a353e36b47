//! An engine on a real store and a real broker, with a worker and a scheduler.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod counting;
pub mod moody;

use std::{sync::Arc, time::Duration};

use gristmill_broker::Broker;
use gristmill_common::{
    Clock, JobId, LeaseId, State, Tenant, WorkerId,
    http::JobRequest,
    job::{Job, JobKey, Limits},
};
use gristmill_engine::{
    Engine, EngineConfig, JobFilter, ListRequest, Order, Origin, Scheduler, SchedulerConfig, Worker, WorkerConfig,
};
use gristmill_handlers::{Class, Context, HandlerError, JobHandler, Registry, built_in, test_types};
use gristmill_storage::{Claim, Store, Whom};
use gristmill_testkit::{World, eventually};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Rig {
    pub engine: Engine,
    pub store: Arc<dyn Store>,
    pub broker: Arc<dyn Broker>,
    pub clock: Clock,
    pub shutdown: CancellationToken,
    data: Arc<tempfile::TempDir>,
}

/// Blocks its thread until it is told to stop.
struct Spin;

impl JobHandler for Spin {
    const NAME: &'static str = "spin";
    const DESCRIPTION: &'static str = "Keeps a processor busy until it is stopped.";
    const CLASS: Class = Class::Cpu;
    type Input = serde_json::Value;
    type Output = ();

    async fn run(&self, _: serde_json::Value, context: Context) -> Result<(), HandlerError> {
        context.log("spinning");
        context.progress(42, Some("round and round"));
        while !context.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(HandlerError::cancelled())
    }
}

/// Panics.
struct Panic;

impl JobHandler for Panic {
    const NAME: &'static str = "panic";
    const DESCRIPTION: &'static str = "Panics.";
    type Input = serde_json::Value;
    type Output = ();

    async fn run(&self, _: serde_json::Value, _: Context) -> Result<(), HandlerError> {
        panic!("on purpose")
    }
}

/// Gives a result of a chosen size.
struct Fill;

impl JobHandler for Fill {
    const NAME: &'static str = "fill";
    const DESCRIPTION: &'static str = "Gives a result of a chosen size.";
    type Input = usize;
    type Output = String;

    async fn run(&self, bytes: usize, _: Context) -> Result<String, HandlerError> {
        Ok("x".repeat(bytes))
    }
}

pub fn registry() -> Registry {
    built_in()
        .and_then(test_types)
        .and_then(|registry| registry.with(Spin))
        .and_then(|registry| registry.with(Panic))
        .and_then(|registry| registry.with(Fill))
        .expect("distinct names")
}

pub fn tenant(name: &str) -> Tenant {
    name.parse().expect("a name")
}

pub fn request(job_type: &str, payload: serde_json::Value) -> JobRequest {
    with(job_type, payload, json!({}))
}

/// A request with more fields.
pub fn with(job_type: &str, payload: serde_json::Value, more: serde_json::Value) -> JobRequest {
    let mut body = json!({ "type": job_type, "payload": payload });
    let fields = body.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    serde_json::from_value(body).expect("a request")
}

impl Rig {
    pub async fn new() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        Self::open(Arc::new(tempfile::tempdir().expect("a folder")), limits).await
    }

    async fn open(data: Arc<tempfile::TempDir>, limits: Limits) -> Self {
        let url = format!("sqlite://{}", data.path().display());
        Self::on(&url, "embedded:", data, limits).await
    }

    /// On the servers of a fleet.
    pub async fn in_world(world: &World) -> Self {
        let data = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::on(world.store_url(), world.broker_url(), data, Limits::default()).await
    }

    async fn on(store: &str, broker: &str, data: Arc<tempfile::TempDir>, limits: Limits) -> Self {
        let clock = Clock::start();
        let store = gristmill_storage::open(store, &clock).await.expect("a store").store;
        let broker = gristmill_broker::open(broker).await.expect("a broker").broker;
        Self::with(store, broker, clock, data, limits).await
    }

    /// With a broker whose moods the test chooses.
    pub async fn with_moods() -> (Self, Arc<moody::Moody>) {
        let data = Arc::new(tempfile::tempdir().expect("a folder"));
        let clock = Clock::start();
        let store = format!("sqlite://{}", data.path().display());
        let store = gristmill_storage::open(&store, &clock).await.expect("a store").store;
        let broker = gristmill_broker::open("embedded:").await.expect("a broker").broker;
        let moody = Arc::new(moody::Moody::new(broker));
        (Self::with(store, moody.clone(), clock, data, Limits::default()).await, moody)
    }

    async fn with(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        clock: Clock,
        data: Arc<tempfile::TempDir>,
        limits: Limits,
    ) -> Self {
        eventually("connected", || async { (store.ping().await.is_ok() && broker.ping().await.is_ok()).then_some(()) })
            .await;
        let shutdown = CancellationToken::new();
        let config = EngineConfig { limits, ..EngineConfig::default() };
        let engine = Engine::start(store.clone(), broker.clone(), registry(), clock.clone(), config, shutdown.clone())
            .await
            .expect("an engine");
        Self { engine, store, broker, clock, shutdown, data }
    }

    /// An engine of another process, on the same store and broker.
    pub async fn another_engine(&self) -> Engine {
        let (clock, shutdown) = (self.clock.clone(), self.shutdown.clone());
        let config = EngineConfig::default();
        Engine::start(self.store.clone(), self.broker.clone(), registry(), clock, config, shutdown)
            .await
            .expect("an engine")
    }

    /// Starts a worker with short heartbeats.
    pub fn work(&self) -> JoinHandle<()> {
        self.work_with(WorkerConfig { heartbeat: Duration::from_millis(100), ..WorkerConfig::default() })
    }

    pub fn work_with(&self, config: WorkerConfig) -> JoinHandle<()> {
        let worker = Worker::new(self.engine.clone(), config);
        tokio::spawn(async move { worker.run().await })
    }

    /// Starts a scheduler that looks often.
    pub fn schedule(&self) -> JoinHandle<()> {
        let config = SchedulerConfig {
            tick: Duration::from_millis(20),
            lease: Duration::from_millis(100),
            ..SchedulerConfig::default()
        };
        let scheduler = Scheduler::new(self.engine.clone(), config);
        tokio::spawn(async move { scheduler.run().await })
    }

    /// Claims a job for ten seconds, as a worker that then dies.
    pub async fn claim_and_die(&self, key: &JobKey) {
        let now = self.clock.now();
        let claim = Claim {
            keys: vec![key.clone()],
            lease: LeaseId::fresh(),
            worker: WorkerId::fresh(),
            now,
            until: now + Duration::from_secs(10),
            whom: Whom::Any,
        };
        assert_eq!(self.store.claim(claim).await.expect("claimed").len(), 1);
    }

    pub async fn submit(&self, request: JobRequest) -> JobKey {
        self.engine.submit(Origin::default(), request).await.expect("accepted").key
    }

    pub async fn job(&self, key: &JobKey) -> Job {
        self.engine.job(key).await.expect("a job").job
    }

    /// All jobs of a tenant, the oldest first.
    pub async fn jobs_of(&self, name: &str) -> Vec<Job> {
        let (mut jobs, mut cursor) = (Vec::new(), None);
        loop {
            let (filter, order) = (JobFilter::default(), Order::OldestFirst);
            let page = ListRequest { tenant: tenant(name), filter, order, cursor, limit: 1_000 };
            let (some, next) = self.engine.list(page).await.expect("a page");
            jobs.extend(some);
            cursor = next;
            if cursor.is_none() {
                return jobs;
            }
        }
    }

    /// Waits until the job is in this state.
    pub async fn reaches(&self, key: &JobKey, state: State) -> Job {
        eventually(&format!("{} is {state}", key.id), || async {
            Some(self.job(key).await).filter(|job| job.state == state)
        })
        .await
    }

    pub async fn result(&self, key: &JobKey) -> serde_json::Value {
        let found = self.engine.job(key).await.expect("a job");
        match found.result.expect("a result") {
            gristmill_common::Body::Inline(bytes) => serde_json::from_slice(&bytes).expect("json"),
            blob => panic!("not inline: {blob:?}"),
        }
    }
}

pub fn unknown_key() -> JobKey {
    JobKey { tenant: Tenant::default(), id: JobId::fresh() }
}
