//! Handlers that do not stop when they are told to.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gristmill_common::{Clock, State};
use gristmill_engine::{Engine, EngineConfig, NotWorking, Worker, WorkerConfig};
use gristmill_handlers::{Class, Context, HandlerError, JobHandler};
use gristmill_testkit::eventually;
use serde_json::json;
use support::{Rig, registry, request, with};
use tokio_util::sync::CancellationToken;

/// Keeps its thread until it is let go.
struct Deaf(Arc<AtomicBool>);

impl JobHandler for Deaf {
    const NAME: &'static str = "deaf";
    const DESCRIPTION: &'static str = "Does not hear that it should stop.";
    const CLASS: Class = Class::Cpu;
    type Input = serde_json::Value;
    type Output = ();

    async fn run(&self, _: serde_json::Value, _: Context) -> Result<(), HandlerError> {
        while !self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_a_thread_left_leaves_such_work_to_others() {
    let rig = Rig::new().await;
    let let_go = Arc::new(AtomicBool::new(false));
    let registry = registry().with(Deaf(let_go.clone())).expect("distinct names");
    let (store, broker, clock) = (rig.store.clone(), rig.broker.clone(), Clock::clone(&rig.clock));
    let stop = CancellationToken::new();
    let engine = Engine::start(store, broker, registry, clock, EngineConfig::default(), stop.clone());
    let engine = engine.await.expect("an engine");
    let config = WorkerConfig { cpu_threads: 1, heartbeat: Duration::from_millis(100), ..WorkerConfig::default() };
    let stuck = Worker::new(engine, config);
    let works = stuck.clone();
    tokio::spawn(async move { works.run().await });
    rig.schedule();
    eventually("it works", || async { stuck.check().ok() }).await;

    let deaf = rig.submit(with("deaf", json!({}), json!({"timeout_ms": 50, "max_attempts": 1}))).await;
    let waits = rig.submit(request("spin", json!({}))).await;
    let failed = rig.reaches(&deaf, State::Failed).await;
    assert_eq!(failed.error.expect("an error").code, "timeout");
    assert!(matches!(stuck.check(), Err(NotWorking::ThreadsStuck(_))));
    let given_back = eventually("the waiting job is given back", || async {
        Some(rig.job(&waits).await).filter(|job| job.state == State::Queued && job.claims > 0)
    });
    assert_eq!(given_back.await.attempt, 0, "it is not charged");

    // Other work goes on there.
    let other = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.reaches(&other, State::Succeeded).await;
    // What it passed on is rung again within seconds. Without it, nobody else can pass it on once more.
    stop.cancel();
    rig.work();
    rig.reaches(&waits, State::Running).await;
    rig.engine.cancel(&waits).await.expect("asked to stop");
    rig.reaches(&waits, State::Cancelled).await;
    let_go.store(true, Ordering::Relaxed);
}
