//! Concurrency keys, rate limits of keys and of queues: kept by all workers together.

mod support;

use std::time::Duration;

use gristmill_common::{
    QueueName, QueueRate, QueueRecord, State, Tenant,
    job::{Job, JobKey, NewJob, What},
    message::Dispatch,
};
use gristmill_engine::WorkerConfig;
use gristmill_storage::{Expect, Kind, RegisterKey, Space, Swap};
use gristmill_testkit::{World, eventually};
use serde_json::json;
use support::{
    Rig,
    counting::{Count, Input, count_job},
    with,
};

const INTERVAL: Duration = Duration::from_millis(20);

fn config() -> WorkerConfig {
    WorkerConfig { concurrency: 8, heartbeat: Duration::from_millis(200), ..WorkerConfig::default() }
}

fn input(name: &str, ms: u64) -> Input {
    Input { name: name.into(), ms, until_attempt: 0 }
}

fn parked(job: &Job) -> usize {
    job.history.entries().filter(|entry| entry.what == What::Parked).count()
}

async fn all_succeed(rig: &Rig, keys: &[JobKey]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for key in keys {
        jobs.push(rig.reaches(key, State::Succeeded).await);
    }
    jobs
}

async fn register_is_gone(rig: &Rig, space: Space, name: &str) {
    let key = [RegisterKey { space, tenant: Tenant::default(), name: name.into() }];
    eventually("the register is removed", || async {
        rig.store.registers(&key).await.ok()?.pop()?.is_none().then_some(())
    })
    .await;
}

async fn never_more_than_the_limit_run(rig: &Rig) {
    const LIMIT: usize = 3;
    let count = Count::new(rig);
    let gates = json!({"concurrency": {"key": "printer", "limit": LIMIT}});
    let jobs = (0..60).map(|_| count_job(rig, &input("printer", 20), Some(gates.clone()))).collect();
    let keys = rig.store_jobs(jobs).await;
    rig.count_with(&count, 4, config()).await;
    let jobs = all_succeed(rig, &keys).await;
    let counted = count.of("printer");
    assert_eq!((counted.most, counted.starts.len()), (LIMIT, 60));
    assert!(jobs.iter().all(|job| job.attempt == 1 && parked(job) <= 1), "a refused job is parked, and says so once");
    assert!(jobs.iter().any(|job| parked(job) == 1), "some had to wait");
    register_is_gone(rig, Space::Slots, "printer").await;
    rig.shutdown.cancel();
}

async fn its_own_slot_blocks_no_retry(rig: &Rig) {
    let count = Count::new(rig);
    let gates = json!({"concurrency": {"key": "one", "limit": 1}});
    let job = count_job(rig, &Input { until_attempt: 6, ..input("one", 0) }, Some(gates));
    let keys = rig.store_jobs(vec![job]).await;
    rig.count_with(&count, 3, config()).await;
    let job = all_succeed(rig, &keys).await.remove(0);
    assert_eq!((job.attempt, job.claims, parked(&job)), (6, 6, 0));
    rig.shutdown.cancel();
}

async fn a_key_starts_no_more_often_than_it_may(rig: &Rig) {
    const LIMIT: usize = 5;
    let count = Count::new(rig);
    // Fifty a second.
    let gates = json!({"rate_limit": {"key": "api", "limit": LIMIT, "per_ms": 100}});
    let since = rig.clock.now();
    let jobs = (0..120).map(|_| count_job(rig, &input("api", 0), Some(gates.clone()))).collect();
    let keys = rig.store_jobs(jobs).await;
    rig.count_with(&count, 4, config()).await;
    let jobs = all_succeed(rig, &keys).await;
    count.of("api").keeps_to(since, LIMIT, INTERVAL);
    assert!(jobs.iter().all(|job| job.claims == 1 && parked(job) <= 1));
    rig.shutdown.cancel();
}

/// A queue of 50 a second beside one without a limit.
async fn a_queue_starts_no_more_often_than_it_may(rig: &Rig) {
    const LIMIT: usize = 5;
    let count = Count::new(rig);
    let slow: QueueName = "slow".parse().expect("a name");
    let rate_limit = Some(QueueRate { limit: LIMIT as u32, per_ms: 100 });
    let record = QueueRecord { name: slow.clone(), paused: false, rate_limit, created_at: rig.clock.now() };
    let record = serde_json::to_value(record).expect("json");
    rig.store.put_record(Kind::Queue, slow.as_str(), record).await.expect("declared");
    let since = rig.clock.now();
    let limited = (0..120).map(|_| {
        let NewJob { job, payload, text } = count_job(rig, &input("slow", 0), None);
        NewJob { job: Job { queue: slow.clone(), ..job }, payload, text }
    });
    let limited = rig.store_jobs(limited.collect()).await;
    let free = rig.store_jobs((0..60).map(|_| count_job(rig, &input("free", 0), None)).collect()).await;
    rig.count_with(&count, 4, config()).await;
    all_succeed(rig, &free).await;
    let jobs = all_succeed(rig, &limited).await;
    count.of("slow").keeps_to(since, LIMIT, INTERVAL);
    assert!(jobs.iter().all(|job| job.claims == 1 && parked(job) == 0), "they wait in hand");
    let (free, slow) = (count.of("free").starts, count.of("slow").starts);
    assert!(free.iter().max() < slow.iter().max(), "the queue without a limit waited for the other");
    rig.shutdown.cancel();
}

/// A job with both gates that has no token must not keep its slot.
async fn a_job_without_a_token_gives_its_slot_back(rig: &Rig) {
    let count = Count::new(rig);
    let key = json!({"key": "both", "limit": 1});
    let both = json!({"concurrency": key, "rate_limit": {"key": "hourly", "limit": 1, "per_ms": 3_600_000}});
    let first = rig.store_jobs(vec![count_job(rig, &input("both", 0), Some(both.clone()))]).await;
    rig.count_with(&count, 2, config()).await;
    all_succeed(rig, &first).await;
    let hourly = rig.store_jobs(vec![count_job(rig, &input("both", 0), Some(both))]).await.remove(0);
    let waits = eventually("parked", || async { Some(rig.job(&hourly).await).filter(Job::is_parked) }).await;
    assert!(waits.wake_at.since(rig.clock.now()) > Duration::from_secs(3_000), "until exactly its time");
    let slot_alone = json!({"concurrency": key});
    let jobs = (0..5).map(|_| count_job(rig, &input("both", 0), Some(slot_alone.clone()))).collect();
    all_succeed(rig, &rig.store_jobs(jobs).await).await;
    assert_eq!((rig.job(&hourly).await.claims, count.of("both").most), (0, 1));
    rig.shutdown.cancel();
}

/// A scheduler of an older build rings without a word of gates.
async fn a_dispatch_without_gates_leads_past_none(rig: &Rig) {
    let count = Count::new(rig);
    let gates = json!({"concurrency": {"key": "one", "limit": 1}});
    rig.count_with(&count, 1, config()).await;
    let holder = rig.store_jobs(vec![count_job(rig, &input("one", 60_000), Some(gates.clone()))]).await.remove(0);
    rig.reaches(&holder, State::Running).await;
    let new = count_job(rig, &input("one", 0), Some(gates));
    let dispatch = Dispatch { v: 1, gates: None, ..Dispatch::of(&new.job) };
    // Its clock keeps the scheduler of this build from ringing for it.
    let later = rig.clock.now() + Duration::from_secs(60);
    let new = NewJob { job: Job { wake_at: later, rings: 1, ..new.job }, ..new };
    let key = rig.store_jobs(vec![new]).await.remove(0);
    rig.broker.publish(&QueueName::default(), vec![dispatch]).await.expect("published");
    let waits = eventually("parked", || async { Some(rig.job(&key).await).filter(Job::is_parked) }).await;
    assert_eq!((waits.claims, waits.attempt), (1, 0), "it was claimed and given back");
    rig.engine.cancel(&holder).await.expect("asked to stop");
    rig.reaches(&key, State::Succeeded).await;
    assert_eq!(count.of("one").most, 1);
    rig.shutdown.cancel();
}

/// Two copies of a dispatch, one token: the copy that gets none must not give back the slot that its twin runs in.
async fn a_doubled_dispatch_leaves_its_twin_the_slot(rig: &Rig) {
    let count = Count::new(rig);
    let limited = json!({
        "concurrency": {"key": "one", "limit": 1},
        "rate_limit": {"key": "hourly", "limit": 1, "per_ms": 3_600_000},
    });
    // Its clock keeps the scheduler from ringing for it.
    let new = count_job(rig, &input("one", 60_000), Some(limited));
    let later = rig.clock.now() + Duration::from_secs(60);
    let new = NewJob { job: Job { wake_at: later, rings: 1, ..new.job }, ..new };
    let twins = vec![Dispatch::of(&new.job); 2];
    let doubled = rig.store_jobs(vec![new]).await.remove(0);
    rig.broker.publish(&QueueName::default(), twins).await.expect("published");
    rig.count_with(&count, 1, config()).await;
    rig.reaches(&doubled, State::Running).await;
    let slot_alone = json!({"concurrency": {"key": "one", "limit": 1}});
    let other = rig.store_jobs(vec![count_job(rig, &input("one", 0), Some(slot_alone))]).await.remove(0);
    eventually("parked", || async { Some(rig.job(&other).await).filter(Job::is_parked) }).await;
    assert_eq!(count.of("one").starts.len(), 1);
    rig.engine.cancel(&doubled).await.expect("asked to stop");
    rig.reaches(&other, State::Succeeded).await;
    assert_eq!(count.of("one").most, 1);
    rig.shutdown.cancel();
}

/// Nobody but the worker rings here: there is no scheduler.
async fn who_has_left_the_line_is_passed_over(rig: &Rig) {
    rig.work_with(config());
    let gates = json!({"concurrency": {"key": "one", "limit": 1}});
    let submit = async |ms: u64| rig.submit(with("sleep", json!({ "ms": ms }), gates.clone())).await;
    let holder = submit(60_000).await;
    rig.reaches(&holder, State::Running).await;
    let mut line = Vec::new();
    for _ in 0..6 {
        let key = submit(0).await;
        eventually("parked", || async { Some(rig.job(&key).await).filter(Job::is_parked) }).await;
        line.push(key);
    }
    let last = line.pop().expect("the last in line");
    for key in &line {
        rig.engine.cancel(key).await.expect("cancelled");
    }
    rig.engine.cancel(&holder).await.expect("asked to stop");
    rig.reaches(&last, State::Succeeded).await;
    rig.shutdown.cancel();
}

/// A newer build has written what this one cannot read; jobs of other keys pass meanwhile.
async fn jobs_whose_register_is_newer_are_passed_on(rig: &Rig) {
    let count = Count::new(rig);
    let newer = |space, name: &str| Swap {
        key: RegisterKey { space, tenant: Tenant::default(), name: name.into() },
        expect: Expect::Absent,
        to: Some((json!({"v": 1_000}), None)),
    };
    let swaps = vec![newer(Space::Slots, "newer"), newer(Space::Rate, "newer")];
    assert_eq!(rig.store.swap(swaps).await.expect("swapped"), [true, true]);
    let slot = json!({"concurrency": {"key": "newer", "limit": 1}});
    let token = json!({
        "concurrency": {"key": "older", "limit": 1},
        "rate_limit": {"key": "newer", "limit": 1, "per_ms": 1_000},
    });
    let jobs = [slot, token].map(|gates| count_job(rig, &input("newer", 0), Some(gates)));
    let newer = rig.store_jobs(jobs.into()).await;
    rig.count_with(&count, 1, config()).await;
    let older = json!({"concurrency": {"key": "older", "limit": 1}});
    let jobs = (0..5).map(|_| count_job(rig, &input("older", 0), Some(older.clone()))).collect();
    all_succeed(rig, &rig.store_jobs(jobs).await).await;
    for key in &newer {
        let job = rig.job(key).await;
        assert_eq!((job.state, job.claims), (State::Queued, 0));
    }
    rig.shutdown.cancel();
}

macro_rules! on_both {
    ($($test:ident)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test(&super::Rig::new().await).await;
                }
            )*
        }

        mod mongodb_and_rabbitmq {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let world = super::World::new().await.expect("a world");
                    super::$test(&super::Rig::in_world(&world).await).await;
                }
            )*
        }
    };
}

on_both! {
    never_more_than_the_limit_run
    its_own_slot_blocks_no_retry
    a_key_starts_no_more_often_than_it_may
    a_queue_starts_no_more_often_than_it_may
    a_job_without_a_token_gives_its_slot_back
    a_dispatch_without_gates_leads_past_none
    a_doubled_dispatch_leaves_its_twin_the_slot
    who_has_left_the_line_is_passed_over
    jobs_whose_register_is_newer_are_passed_on
}
