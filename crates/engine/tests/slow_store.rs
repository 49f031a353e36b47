//! A store that takes two seconds longer for everything slows what is submitted and what is claimed; the leases of what
//! runs hold, and all that was accepted is done once.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_common::{Clock, State, job::JobKey};
use gristmill_engine::{
    Engine, EngineConfig, EngineError, Origin, Scheduler, SchedulerConfig, StoreError, Worker, WorkerConfig,
};
use gristmill_storage::Store;
use gristmill_testkit::{Manner, Proxy, World, eventually};
use serde_json::json;
use support::{registry, request};
use tokio_util::sync::CancellationToken;

/// In each direction.
const DELAY: Duration = Duration::from_secs(1);
/// How long a lease holds: a busy machine may take some seconds for what is else done at once.
const LEASE: Duration = Duration::from_secs(20);
/// More than a lease.
const SLOW_FOR: Duration = Duration::from_secs(25);
/// How many jobs run all that time.
const LONG: usize = 16;
/// How many clients submit one job after the other meanwhile.
const CLIENTS: usize = 4;

/// Submits until it is told to stop; returns what was accepted, and how long the slowest answer took.
async fn submits(engine: Engine, stop: CancellationToken) -> (Vec<JobKey>, Duration) {
    let (mut accepted, mut slowest) = (Vec::new(), Duration::ZERO);
    while !stop.is_cancelled() {
        let asked = Instant::now();
        match engine.submit(Origin::default(), request("sleep", json!({"ms": 0}))).await {
            Ok(job) => accepted.push(job.key),
            Err(EngineError::Store(StoreError::Unavailable(_) | StoreError::Overloaded)) => {}
            Err(error) => panic!("refused for another reason: {error:?}"),
        }
        slowest = slowest.max(asked.elapsed());
    }
    (accepted, slowest)
}

/// Looks after the leases of these jobs: none may run out.
async fn leases_hold(store: Arc<dyn Store>, clock: Clock, keys: Vec<JobKey>, stop: CancellationToken) -> Duration {
    let mut shortest = Duration::MAX;
    while !stop.is_cancelled() {
        for job in store.jobs(&keys).await.expect("jobs").into_iter().flatten() {
            assert_eq!(job.state, State::Running, "{job:?}");
            shortest = shortest.min(job.wake_at.since(clock.now()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shortest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_slows_intake_and_costs_no_running_job_its_lease() {
    let world = World::new().await.expect("a world");
    let proxy = Proxy::start(world.store_address()).await.expect("a proxy");
    let clock = Clock::start();
    let url = world.store_url_through(&proxy.address().to_string());
    let slow = gristmill_storage::open(&url, &clock).await.expect("a store").store;
    let direct = gristmill_storage::open(world.store_url(), &Clock::start()).await.expect("a store").store;
    for store in [&slow, &direct] {
        eventually("connected", || async { store.ping().await.ok() }).await;
    }
    let broker = gristmill_broker::open("embedded:").await.expect("a broker").broker;
    let shutdown = CancellationToken::new();
    let config = EngineConfig::default();
    let engine = Engine::start(slow.clone(), broker, registry(), clock.clone(), config, shutdown.clone());
    let engine = engine.await.expect("an engine");
    let (worker, scheduler) = (
        Worker::new(engine.clone(), WorkerConfig { lease: LEASE, ..WorkerConfig::default() }),
        Scheduler::new(engine.clone(), SchedulerConfig { lease: LEASE, ..SchedulerConfig::default() }),
    );
    tokio::spawn(async move { worker.run().await });
    tokio::spawn(async move { scheduler.run().await });

    // They would sleep for longer than all this takes on any machine, and are cancelled in the end.
    let ms = 600_000;
    let mut long = Vec::new();
    for _ in 0..LONG {
        let job = engine.submit(Origin::default(), request("sleep", json!({ "ms": ms }))).await.expect("accepted");
        long.push(job.key);
    }
    eventually("all run", || async {
        let jobs = direct.jobs(&long).await.expect("jobs");
        jobs.iter().flatten().all(|job| job.state == State::Running).then_some(())
    })
    .await;

    proxy.treat(Manner::Delay(DELAY));
    let stop = CancellationToken::new();
    let watching = tokio::spawn(leases_hold(direct.clone(), clock.clone(), long.clone(), stop.clone()));
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(submits(engine.clone(), stop.clone()))).collect();
    tokio::time::sleep(SLOW_FOR).await;
    stop.cancel();
    let shortest = watching.await.expect("every lease held");
    let (mut accepted, mut slowest) = (Vec::new(), Duration::ZERO);
    for client in clients {
        let (more, time) = client.await.expect("no other refusal");
        accepted.extend(more);
        slowest = slowest.max(time);
    }
    println!(
        "{} accepted while it was slow, the slowest answer after {slowest:.1?}, the shortest lease {shortest:.1?}",
        accepted.len()
    );
    assert!(slowest >= 2 * DELAY, "it was not slow: {slowest:?}");
    assert!(shortest > Duration::ZERO, "a lease ran out");
    proxy.treat(Manner::Forward);
    for key in &long {
        eventually("it is cancelled", || async { engine.cancel(key).await.ok() }).await;
    }

    let mut rescued = 0;
    for key in long.iter().chain(&accepted) {
        let job = eventually("it ends", || async {
            let job = direct.jobs(std::slice::from_ref(key)).await.ok()?.pop()??;
            job.state.is_terminal().then_some(job)
        })
        .await;
        if long.contains(key) {
            assert_eq!(job.state, State::Cancelled, "{job:?}");
            assert_eq!((job.claims, job.rescues), (1, 0), "its lease held all the time: {job:?}");
        } else {
            assert_eq!((job.state, job.attempt), (State::Succeeded, 1), "{job:?}");
            // A claim and the settle after it may take as long as the lease.
            rescued += usize::from(job.rescues > 0);
        }
    }
    println!("{rescued} of them lost the lease that they were claimed under");
    shutdown.cancel();
}
