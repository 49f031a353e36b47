//! A store that goes away while jobs run: what handlers say meanwhile is not lost, what became of jobs is stored when
//! it is back, and the log tells of it once.

mod support;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use gristmill_common::{Clock, State, job::JobKey};
use gristmill_engine::{Engine, EngineConfig, Origin, Worker, WorkerConfig};
use gristmill_handlers::{Context, HandlerError, JobHandler};
use gristmill_testkit::{Manner, Proxy, World, eventually};
use serde_json::json;
use support::{registry, request};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// How many jobs end while the store is away.
const JOBS: usize = 40;
/// Long enough for many tries.
const AWAY: Duration = Duration::from_secs(3);

/// Says a line, and how far it has come, at each step; ends after the last.
struct Talk(watch::Receiver<u8>);

const STEPS: u8 = 4;

impl JobHandler for Talk {
    const NAME: &'static str = "talk";
    const DESCRIPTION: &'static str = "Says something when it is told to.";
    type Input = serde_json::Value;
    type Output = ();

    async fn run(&self, _: serde_json::Value, context: Context) -> Result<(), HandlerError> {
        let mut steps = self.0.clone();
        for step in 1..=STEPS {
            steps.wait_for(|told| *told >= step).await.map_err(|error| HandlerError::fatal("untold", error))?;
            context.log(step.to_string());
            context.progress(step, None);
        }
        Ok(())
    }
}

/// Counts what is warned of.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<BTreeMap<String, usize>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN && metadata.target().starts_with("gristmill_engine")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        *self.0.lock().expect("not poisoned").entry(message.0).or_default() += 1;
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

async fn submit(engine: &Engine, job_type: &str, ms: u64) -> JobKey {
    let payload = json!({ "ms": ms });
    engine.submit(Origin::default(), request(job_type, payload)).await.expect("accepted").key
}

/// The lines of a job's log.
async fn log(engine: &Engine, key: &JobKey) -> Vec<String> {
    let lines = engine.logs(key).await.expect("a job");
    lines.into_iter().map(|line| line.message).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_said_or_done_while_the_store_was_away_is_lost_and_the_log_is_not_flooded() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).expect("the only one");
    let world = World::new().await.expect("a world");
    let proxy = Proxy::start(world.store_address()).await.expect("a proxy");
    let clock = Clock::start();
    let url = world.store_url_through(&proxy.address().to_string());
    let store = gristmill_storage::open(&url, &clock).await.expect("a store").store;
    eventually("connected", || async { store.ping().await.ok() }).await;
    let broker = gristmill_broker::open("embedded:").await.expect("a broker").broker;
    let (steps, told) = watch::channel(0);
    let (registry, shutdown) = (registry().with(Talk(told)).expect("a new name"), CancellationToken::new());
    let config = EngineConfig::default();
    let engine = Engine::start(store.clone(), broker, registry, clock, config, shutdown).await.expect("an engine");
    // The leases outlast the outage.
    let (lease, heartbeat) = (Duration::from_secs(120), Duration::from_millis(100));
    let worker = Worker::new(engine.clone(), WorkerConfig { lease, heartbeat, ..WorkerConfig::default() });
    tokio::spawn(async move { worker.run().await });

    let talk = submit(&engine, "talk", 0).await;
    let mut sleeps = Vec::new();
    for _ in 0..JOBS {
        sleeps.push(submit(&engine, "sleep", 4_000).await);
    }
    for key in sleeps.iter().chain([&talk]) {
        eventually("all run", || async {
            let state = engine.job(key).await.expect("a job").job.state;
            (state == State::Running).then_some(())
        })
        .await;
    }
    steps.send_replace(1);
    eventually("the first line", || async { (log(&engine, &talk).await == ["1"]).then_some(()) }).await;

    proxy.treat(Manner::Refuse);
    eventually("the store is away", || async { store.ping().await.err() }).await;
    steps.send_replace(2);
    tokio::time::sleep(AWAY).await;
    steps.send_replace(3);
    tokio::time::sleep(AWAY).await;
    proxy.treat(Manner::Forward);

    for key in &sleeps {
        eventually("what ended meanwhile is stored", || async {
            let job = engine.job(key).await.ok()?.job;
            (job.state == State::Succeeded).then_some(())
        })
        .await;
    }
    eventually("what was said meanwhile is stored", || async {
        let job = engine.job(&talk).await.ok()?.job;
        (job.progress.percent == 3 && log(&engine, &talk).await == ["1", "2", "3"]).then_some(())
    })
    .await;
    steps.send_replace(STEPS);
    eventually("it ends", || async {
        (engine.job(&talk).await.expect("a job").job.state == State::Succeeded).then_some(())
    })
    .await;
    assert_eq!(log(&engine, &talk).await, ["1", "2", "3", "4"]);
    let warnings = warnings.0.lock().expect("not poisoned").clone();
    println!("{warnings:#?}");
    assert!(warnings.values().all(|times| *times == 1), "said again and again: {warnings:#?}");
    for what in ["progress and log lines were not stored; trying again", "what became of jobs could not be stored"] {
        assert!(warnings.keys().any(|said| said.starts_with(what)), "not said: {what}: {warnings:#?}");
    }
}
