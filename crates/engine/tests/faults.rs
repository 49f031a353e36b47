//! Bad days: lost messages, lost leases, lost workers, floods.

mod support;

use std::time::{Duration, Instant};

use gristmill_common::{
    BandKey, QueueName, State,
    job::{Limits, Priority, What},
};
use gristmill_engine::{Origin, WorkerConfig};
use gristmill_testkit::{DEADLINE, eventually};
use serde_json::json;
use support::{Rig, request, tenant, with};

fn band(priority: Priority) -> BandKey {
    BandKey { queue: QueueName::default(), priority }
}

/// Announces a job type that this worker lacks.
async fn announce_elsewhere(rig: &Rig) {
    let spin = "spin".parse().expect("a name");
    let mut record = support::registry().get(&spin).expect("a type").record().clone();
    record.name = "elsewhere".parse().expect("a name");
    let json = serde_json::to_value(&record).expect("json");
    rig.store.put_record(gristmill_storage::Kind::JobType, "elsewhere", json).await.expect("announced");
}

async fn waits_in_broker(rig: &Rig) -> usize {
    rig.broker.depth(&band(Priority::Normal)).await.expect("a depth")
}

#[tokio::test]
async fn jobs_whose_messages_were_purged_run_all_the_same() {
    let rig = Rig::new().await;
    let mut keys = Vec::new();
    for _ in 0..300 {
        keys.push(rig.submit(request("sleep", json!({"ms": 0}))).await);
    }
    eventually("rung", || async { (waits_in_broker(&rig).await == 300).then_some(()) }).await;
    // Long enough for the rings to be marked: each would be rung again in a minute.
    eventually("marked", || async { (rig.job(&keys[299]).await.rings > 0).then_some(()) }).await;
    rig.broker.purge(&band(Priority::Normal)).await.expect("purged");
    rig.work();
    rig.schedule();
    for key in &keys {
        let job = rig.reaches(key, State::Succeeded).await;
        assert_eq!(job.claims, 1);
    }
}

#[tokio::test]
async fn a_ring_that_was_never_sent_is_made_up_for() {
    let rig = Rig::new().await;
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    eventually("rung", || async { (waits_in_broker(&rig).await == 1).then_some(()) }).await;
    rig.broker.purge(&band(Priority::Normal)).await.expect("purged");
    rig.work();
    rig.schedule();
    rig.clock.shift(5_000);
    rig.reaches(&key, State::Succeeded).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_stops_its_handler_and_cannot_settle() {
    let rig = Rig::new().await;
    rig.work();
    let key = rig.submit(with("spin", json!({}), json!({"max_attempts": 1}))).await;
    let running = rig.reaches(&key, State::Running).await;
    let rescue = running.rescue(rig.clock.now(), &Limits::default()).expect("a running job");
    // A heartbeat may come in between: read again and decide again, as the scheduler would.
    let mut rescued = rig.store.apply(vec![rescue]).await.expect("applied").pop().flatten().is_some();
    while !rescued {
        let rescue = rig.job(&key).await.rescue(rig.clock.now(), &Limits::default()).expect("a running job");
        rescued = rig.store.apply(vec![rescue]).await.expect("applied").pop().flatten().is_some();
    }
    rig.engine.cancel(&key).await.expect("cancelled while it waits");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let job = rig.job(&key).await;
    assert_eq!((job.state, job.claims, job.attempt), (State::Cancelled, 1, 0));
    assert!(job.history.entries().all(|entry| entry.what != What::Failed), "its worker settled nothing");
}

#[tokio::test]
async fn a_worker_that_drains_gives_back_what_it_cannot_finish_uncharged() {
    let rig = Rig::new().await;
    let config = WorkerConfig { concurrency: 2, drain: Duration::from_millis(300), ..WorkerConfig::default() };
    let worker = rig.work_with(config);
    let quick = rig.submit(request("sleep", json!({"ms": 200}))).await;
    let long = rig.submit(request("sleep", json!({"ms": 60_000}))).await;
    rig.reaches(&quick, State::Running).await;
    rig.reaches(&long, State::Running).await;
    let waiting = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.shutdown.cancel();
    worker.await.expect("drained");
    assert_eq!(rig.job(&quick).await.state, State::Succeeded);
    for key in [&long, &waiting] {
        let job = rig.job(key).await;
        assert_eq!((job.state, job.attempt, job.rescues, job.error), (State::Queued, 0, 0, None));
    }
}

#[tokio::test]
async fn a_type_that_this_worker_lacks_is_left_to_others() {
    let rig = Rig::new().await;
    announce_elsewhere(&rig).await;
    let key = eventually("the type is known", || async {
        rig.engine.submit(Origin::default(), request("elsewhere", json!({}))).await.ok().map(|job| job.key)
    })
    .await;
    rig.work();
    let job = eventually("put off", || async { Some(rig.job(&key).await).filter(|job| job.rings > 0) }).await;
    assert_eq!((job.state, job.claims, job.attempt), (State::Queued, 0, 0));
    assert!(job.wake_at > rig.clock.now());
}

#[tokio::test]
async fn jobs_of_a_type_that_nobody_has_stall_nobody() {
    let rig = Rig::new().await;
    announce_elsewhere(&rig).await;
    eventually("the type is known", || async {
        rig.engine.submit(Origin::default(), request("elsewhere", json!({}))).await.ok()
    })
    .await;
    for _ in 0..3 {
        let batch = (0..1_000).map(|place| (place, request("elsewhere", json!({})))).collect();
        assert!(rig.engine.submit_batch(Origin::default(), batch).await.iter().all(Result::is_ok));
    }
    rig.work();
    rig.schedule();
    for _ in 0..30 {
        let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
        rig.reaches(&key, State::Succeeded).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_job_whose_lease_was_lost_before_it_had_a_slot_does_not_start() {
    let rig = Rig::new().await;
    rig.work_with(WorkerConfig { concurrency: 1, heartbeat: Duration::from_millis(50), ..WorkerConfig::default() });
    // A pace first: the worker then claims ahead of its one slot.
    for _ in 0..200 {
        rig.submit(request("sleep", json!({"ms": 0}))).await;
    }
    let long = rig.submit(request("sleep", json!({"ms": 700}))).await;
    let ahead = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let claimed = rig.reaches(&ahead, State::Running).await;
    if rig.job(&long).await.state == State::Running {
        let rescue = claimed.rescue(rig.clock.now(), &Limits::default());
        rig.store.apply(rescue.into_iter().collect()).await.expect("applied");
    }
    rig.schedule();
    rig.reaches(&long, State::Succeeded).await;
    let done = rig.reaches(&ahead, State::Succeeded).await;
    let ends = done.history.entries().filter(|entry| entry.what == What::Succeeded).count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn a_flood_fills_the_window_and_no_more_and_another_tenant_is_served_soon() {
    let rig = Rig::new().await;
    rig.schedule();
    for _ in 0..20 {
        let batch = (0..1_000).map(|place| (place, request("sleep", json!({"ms": 1})))).collect();
        let outcomes = rig.engine.submit_batch(Origin::default(), batch).await;
        assert!(outcomes.iter().all(Result::is_ok));
    }
    assert!(waits_in_broker(&rig).await <= gristmill_broker::MOST_READY);
    let origin = Origin { tenant: tenant("other"), ..Origin::default() };
    let submitted = Instant::now();
    let other = rig.engine.submit(origin, request("sleep", json!({"ms": 0}))).await.expect("accepted").key;
    rig.work_with(WorkerConfig { concurrency: 8, ..WorkerConfig::default() });
    rig.engine.wait(&other, DEADLINE).await.expect("a job");
    let left = rig.engine.stats(&tenant("default")).await.expect("statistics").counts.queued;
    println!("the other tenant's job took {:?}; {left} of the flood were left", submitted.elapsed());
    assert_eq!(rig.job(&other).await.state, State::Succeeded);
    eventually("the flood is done", || async {
        let counts = rig.engine.stats(&tenant("default")).await.expect("statistics").counts;
        (counts.succeeded == 20_000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn urgent_jobs_go_first_and_the_others_are_not_starved() {
    let rig = Rig::new().await;
    let mut keys = Vec::new();
    for priority in ["low", "normal", "high"] {
        for _ in 0..60 {
            keys.push(rig.submit(with("sleep", json!({"ms": 2}), json!({"priority": priority}))).await);
        }
    }
    rig.work_with(WorkerConfig { concurrency: 1, ..WorkerConfig::default() });
    for key in &keys {
        rig.reaches(key, State::Succeeded).await;
    }
    let mut started = Vec::new();
    for key in &keys {
        let job = rig.job(key).await;
        started.push((job.started_at, job.priority));
    }
    started.sort();
    let places = |priority| started.iter().enumerate().filter(move |(_, (_, of))| *of == priority).map(|(at, _)| at);
    let [high, normal, low] = Priority::ALL.map(|priority| places(priority).sum::<usize>() / 60);
    assert!(high < normal && normal < low, "mean places: high {high}, normal {normal}, low {low}");
    let first_low = places(Priority::Low).next().expect("a place");
    let last_high = places(Priority::High).next_back().expect("a place");
    assert!(first_low < last_high, "low waited for all of high");
}

#[tokio::test]
async fn what_a_full_worker_has_in_hand_goes_to_one_that_has_room() {
    let rig = Rig::new().await;
    let config = WorkerConfig { concurrency: 2, heartbeat: Duration::from_millis(100), ..WorkerConfig::default() };
    rig.schedule();
    rig.work_with(config.clone());
    for _ in 0..2 {
        let long = rig.submit(request("sleep", json!({"ms": 60_000}))).await;
        rig.reaches(&long, State::Running).await;
    }
    let mut quick = Vec::new();
    for _ in 0..8 {
        quick.push(rig.submit(request("sleep", json!({"ms": 0}))).await);
    }
    // The full worker has some of them in hand before there is another.
    eventually("in hand", || async { (waits_in_broker(&rig).await < 8).then_some(()) }).await;
    rig.work_with(config);
    let began = Instant::now();
    for key in &quick {
        rig.reaches(key, State::Succeeded).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "before what is in hand is given back by its age");
}
