//! What a worker takes, and what it leaves to others: queues with a number, bands by weight, types that it lacks.

mod support;

use std::time::Duration;

use gristmill_common::{
    QueueName, State, WorkerId, WorkerRecord,
    job::{Job, JobKey, NewJob},
};
use gristmill_engine::{Subscription, WorkerConfig};
use gristmill_storage::Kind;
use gristmill_testkit::eventually;
use serde_json::json;
use support::{
    Rig,
    counting::{Count, Input, count_job},
    request,
};

fn queue(name: &str) -> QueueName {
    name.parse().expect("a name")
}

fn config(queues: &[&str]) -> WorkerConfig {
    let queues = queues.iter().map(|text| text.parse().expect("a subscription")).collect();
    WorkerConfig { concurrency: 8, heartbeat: Duration::from_millis(100), queues, ..WorkerConfig::default() }
}

/// Stores jobs of a queue that count themselves under its name.
async fn store_in(rig: &Rig, name: &str, number: usize, ms: u64) -> Vec<JobKey> {
    let jobs = (0..number).map(|_| {
        let NewJob { job, payload, text } = count_job(rig, &Input { name: name.into(), ms, until_attempt: 0 }, None);
        NewJob { job: Job { queue: queue(name), ..job }, payload, text }
    });
    rig.store_jobs(jobs.collect()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_runs_no_more_than_its_number_and_all_of_it_ends() {
    let rig = Rig::new().await;
    rig.engine.declare_queue(&queue("mail")).await.expect("declared");
    let count = Count::new(&rig);
    let mail = store_in(&rig, "mail", 40, 10).await;
    let others = store_in(&rig, "default", 80, 10).await;
    rig.count_with(&count, 1, config(&["mail=2", "default"])).await;
    for key in mail.iter().chain(&others) {
        rig.reaches(key, State::Succeeded).await;
    }
    assert_eq!(count.of("mail").most, 2);
    let most = count.of("default").most;
    assert!((3..=8).contains(&most), "{most} of the other queue ran at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_full_holds_up_no_other() {
    let rig = Rig::new().await;
    rig.engine.declare_queue(&queue("mail")).await.expect("declared");
    let count = Count::new(&rig);
    rig.count_with(&count, 1, config(&["mail=2", "default=3"])).await;
    let mail = store_in(&rig, "mail", 20, 60_000).await;
    eventually("full", || async { (count.of("mail").running == 2).then_some(()) }).await;
    for key in store_in(&rig, "default", 30, 0).await {
        rig.reaches(&key, State::Succeeded).await;
    }
    assert_eq!(count.of("mail").starts.len(), 2);
    // What it has in hand of the full queue goes to a worker that has room.
    rig.count_with(&count, 1, config(&["mail"])).await;
    eventually("the other worker helps", || async { (count.of("mail").running == 10).then_some(()) }).await;
    for key in &mail {
        rig.engine.cancel(key).await.expect("asked to stop");
    }
    rig.shutdown.cancel();
}

/// A worker of a rolling upgrade lacks a type. Its job goes to those who have it, as long as there are any.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_type_that_another_worker_has_is_passed_on_within_seconds() {
    let rig = Rig::new().await;
    let now = rig.clock.now();
    let other = WorkerRecord {
        id: WorkerId::fresh(),
        types: vec!["count".parse().expect("a name")],
        queues: vec![QueueName::default()],
        slots: 1,
        running: 0,
        started_at: now,
        last_seen: now + Duration::from_secs(600),
    };
    let put = |record: WorkerRecord| {
        let json = serde_json::to_value(&record).expect("json");
        let store = rig.store.clone();
        async move { store.put_record(Kind::Worker, &record.id.to_string(), json).await.expect("said") }
    };
    put(other.clone()).await;
    // It has been put off so often that it would wait for an hour.
    let stored = async || {
        let new = count_job(&rig, &Input { name: "any".into(), ms: 0, until_attempt: 0 }, None);
        let new = NewJob { job: Job { rings: 20, ..new.job }, ..new };
        rig.store_jobs(vec![new]).await.remove(0)
    };
    let put_off = async |key: &JobKey| {
        eventually("put off", || async { Some(rig.job(key).await).filter(|job| job.rings > 20) }).await
    };
    rig.work();
    rig.schedule();
    let job = put_off(&stored().await).await;
    assert!(job.wake_at <= rig.clock.now() + Duration::from_secs(5));
    put(WorkerRecord { queues: vec![queue("elsewhere")], ..other }).await;
    eventually("nobody has it", || async {
        let job = put_off(&stored().await).await;
        (job.wake_at > rig.clock.now() + Duration::from_secs(3_000)).then_some(())
    })
    .await;
    let known = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.reaches(&known, State::Succeeded).await;
}

#[tokio::test]
async fn a_worker_says_which_queues_it_takes_from() {
    let rig = Rig::new().await;
    rig.engine.declare_queue(&queue("mail")).await.expect("declared");
    let queues = vec![Subscription { queue: queue("mail"), concurrency: Some(4) }];
    rig.work_with(WorkerConfig { queues, ..config(&[]) });
    let worker = eventually("it says so", || async { rig.engine.workers().await.ok()?.pop() }).await;
    assert_eq!(worker.queues, [queue("mail")]);
}
