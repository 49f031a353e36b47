//! What becomes of jobs whose worker is gone.

mod support;

use std::time::Duration;

use gristmill_common::{
    Clock, State,
    job::{Job, Limits},
};
use gristmill_engine::{Engine, EngineConfig, Origin, Scheduler, SchedulerConfig, WorkerConfig};
use serde_json::json;
use support::{Rig, registry, request, tenant, with};
use tokio::{task::JoinHandle, time::timeout};

/// Jobs that so many workers have died of while they ran, each for a quarter of a second, have run; in the order in
/// which they started.
async fn run_after_rescues(rescues: u32, jobs: usize) -> Vec<Job> {
    let rig = Rig::new().await;
    let mut keys = Vec::new();
    for _ in 0..jobs {
        keys.push(rig.submit(request("sleep", json!({"ms": 250}))).await);
    }
    let scheduler = Scheduler::new(rig.engine.clone(), SchedulerConfig::default());
    for _ in 0..rescues {
        for key in &keys {
            rig.claim_and_die(key).await;
        }
        assert_eq!(scheduler.rescue_what_ran_before().await.expect("rescued"), jobs);
    }
    rig.work();
    rig.schedule();
    let mut ended = Vec::new();
    for key in &keys {
        ended.push(rig.reaches(key, State::Succeeded).await);
    }
    ended.sort_by_key(|job| job.started_at);
    ended
}

fn scheduler(rig: &Rig, lease: Duration) -> JoinHandle<()> {
    let (tick, leader_lease) = (Duration::from_millis(20), Duration::from_millis(300));
    let config = SchedulerConfig { tick, leader_lease, lease, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(rig.engine.clone(), config);
    tokio::spawn(async move { scheduler.run().await })
}

#[tokio::test]
async fn a_dead_workers_job_is_rescued_when_its_lease_ends_and_not_charged() {
    let rig = Rig::new().await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.claim_and_die(&key).await;
    rig.schedule();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.job(&key).await.state, State::Running, "its lease still holds");
    rig.clock.shift(10_001);
    rig.reaches(&key, State::Queued).await;
    rig.work();
    let job = rig.reaches(&key, State::Succeeded).await;
    assert_eq!((job.attempt, job.claims, job.rescues), (1, 2, 1));
}

#[tokio::test]
async fn a_job_that_costs_too_many_workers_becomes_a_dead_letter() {
    let rig = Rig::new().await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let scheduler = Scheduler::new(rig.engine.clone(), SchedulerConfig::default());
    let most = Limits::default().max_rescues;
    for rescues in 0..=most {
        rig.claim_and_die(&key).await;
        assert_eq!(scheduler.rescue_what_ran_before().await.expect("rescued"), 1, "after {rescues} rescues");
    }
    let job = rig.job(&key).await;
    assert_eq!((job.state, job.rescues), (State::Failed, most + 1));
    assert_eq!(job.error.expect("an error").code, "worker_lost");
}

/// A lost worker may leave hundreds behind: all but one of them are harmless.
#[tokio::test]
async fn jobs_that_were_rescued_once_run_beside_each_other() {
    let jobs = run_after_rescues(1, 20).await;
    let first_end = jobs.iter().filter_map(|job| job.finished_at).min();
    let started_before = jobs.iter().filter(|job| job.started_at < first_end).count();
    assert!(started_before > 10, "{started_before} of 20 had started when the first one ended");
    assert!(jobs.iter().all(|job| job.rescues == 1 && job.attempt == 1));
}

#[tokio::test]
async fn jobs_that_were_rescued_twice_run_one_after_the_other() {
    let jobs = run_after_rescues(2, 4).await;
    for pair in jobs.windows(2) {
        assert!(pair[0].finished_at <= pair[1].started_at, "two of them ran at once");
    }
}

/// The store's server had its clock set: the leader sees it some seconds before the worker does.
#[tokio::test]
async fn a_step_of_the_stores_clock_costs_nobody_a_lease() {
    const LEASE: Duration = Duration::from_secs(2);
    const STEP_MS: i64 = 60_000;
    let rig = Rig::new().await;
    let leaders_clock = Clock::start();
    let (store, broker) = (rig.store.clone(), rig.broker.clone());
    let leader =
        Engine::start(store, broker, registry(), leaders_clock.clone(), EngineConfig::default(), rig.shutdown.clone());
    let leader = leader.await.expect("an engine");
    let config = SchedulerConfig { tick: Duration::from_millis(20), lease: LEASE, ..SchedulerConfig::default() };
    let scheduler = Scheduler::new(leader, config);
    tokio::spawn(async move { scheduler.run().await });
    rig.work_with(WorkerConfig { lease: LEASE, heartbeat: Duration::from_millis(100), ..WorkerConfig::default() });
    let key = rig.submit(request("spin", json!({}))).await;
    rig.reaches(&key, State::Running).await;
    tokio::time::sleep(LEASE + Duration::from_millis(500)).await;
    leaders_clock.correct(STEP_MS);
    tokio::time::sleep(LEASE / 2).await;
    rig.clock.correct(STEP_MS);
    tokio::time::sleep(2 * LEASE).await;
    let job = rig.job(&key).await;
    assert_eq!((job.state, job.rescues, job.claims), (State::Running, 0, 1));
    rig.engine.cancel(&key).await.expect("asked to stop");
    rig.reaches(&key, State::Cancelled).await;
}

/// A standby has seen for itself that the store was within reach: it need not wait for another lease.
#[tokio::test]
async fn a_new_leader_rescues_at_once() {
    const LEASE: Duration = Duration::from_secs(5);
    let rig = Rig::new().await;
    let leader = scheduler(&rig, LEASE);
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.claim_and_die(&key).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    scheduler(&rig, LEASE);
    tokio::time::sleep(LEASE).await;
    leader.abort();
    rig.clock.shift(10_001);
    timeout(LEASE - Duration::from_secs(1), rig.reaches(&key, State::Queued)).await.expect("rescued at once");
}

/// Thousands of jobs that are due at once keep the leader busy for longer than a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_does_not_wait_for_other_duties() {
    const DUE: u64 = 30_000;
    let rig = Rig::new().await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.claim_and_die(&key).await;
    for _ in 0..DUE / 1_000 {
        let later = |place| (place, with("sleep", json!({"ms": 0}), json!({"delay_ms": 60_000})));
        let outcomes = rig.engine.submit_batch(Origin::default(), (0..1_000).map(later).collect()).await;
        assert!(outcomes.iter().all(Result::is_ok));
    }
    scheduler(&rig, Duration::from_millis(200));
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.clock.shift(60_001);
    let rescued = rig.reaches(&key, State::Queued).await;
    let waiting = rig.engine.stats(&tenant("default")).await.expect("statistics").counts.scheduled;
    assert_eq!(rescued.rescues, 1);
    println!("{waiting} of {DUE} were still to be queued when the job was rescued");
    assert!(waiting > 0, "the rescue came last");
}
