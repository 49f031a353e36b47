//! A backlog of any length stays in the store: the broker holds a window of it, and nobody else waits for it.
//!
//! `GRISTMILL_FLOOD=1000000` tries longer ones than an ordinary run does.

mod support;

use std::{
    env,
    time::{Duration, Instant},
};

use gristmill_broker::MOST_READY;
use gristmill_common::{BandKey, State, job::Priority};
use gristmill_engine::{Origin, WorkerConfig};
use gristmill_testkit::{World, eventually};
use serde_json::json;
use support::{Rig, request, tenant};

const BATCH: usize = 1_000;
/// What RabbitMQ takes although it is full: what a publisher had sent when the quorum queue came to its limit.
const ON_ITS_WAY: usize = 1_024;
/// What was run before the other tenant's job was submitted, and while its end was heard of.
const AT_WORK: u64 = 2_000;
/// After so long the other tenant's job is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn jobs() -> usize {
    env::var("GRISTMILL_FLOOD").map_or(20_000, |jobs| jobs.parse().expect("a number"))
}

async fn flooded_by(rig: &Rig, jobs: usize) {
    rig.schedule();
    let began = Instant::now();
    for _ in 0..jobs / BATCH {
        let batch = (0..BATCH as u32).map(|place| (place, request("sleep", json!({"ms": 1})))).collect();
        let outcomes = rig.engine.submit_batch(Origin::default(), batch).await;
        assert!(outcomes.iter().all(Result::is_ok));
    }
    let stored = began.elapsed();
    let band = BandKey { queue: "default".parse().expect("a name"), priority: Priority::Normal };
    let in_broker = || async { rig.broker.depth(&band).await.expect("a depth") };
    eventually("the window is full", || async { (in_broker().await > MOST_READY / 2).then_some(()) }).await;
    let watched = Instant::now();
    let mut most = 0;
    while watched.elapsed() < Duration::from_secs(2) {
        most = most.max(in_broker().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(most <= MOST_READY + ON_ITS_WAY, "{most} wait in the broker");

    rig.work_with(WorkerConfig { concurrency: 8, ..WorkerConfig::default() });
    eventually("the flood is worked at", || async {
        let counts = rig.engine.stats(&tenant("default")).await.expect("statistics").counts;
        (counts.succeeded > 0).then_some(())
    })
    .await;
    let submitted = Instant::now();
    let origin = Origin { tenant: tenant("other"), ..Origin::default() };
    let other = rig.engine.submit(origin, request("sleep", json!({"ms": 0}))).await.expect("accepted").key;
    rig.engine.wait(&other, PATIENCE).await.expect("a job");
    let waited = submitted.elapsed();
    let left = rig.engine.stats(&tenant("default")).await.expect("statistics").counts.queued;
    println!(
        "{jobs} jobs stored within {stored:.1?}; at most {most} in the broker; the other tenant's job was done after \
         {waited:.2?}, with {left} of the flood left"
    );
    assert_eq!(rig.job(&other).await.state, State::Succeeded);
    // It had to wait for what was in the broker before it, and for no more.
    assert!(left + (MOST_READY + ON_ITS_WAY) as u64 + AT_WORK >= jobs as u64, "{left} of the flood are left");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_is_served_soon_from_sqlite() {
    flooded_by(&Rig::new().await, jobs()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_is_served_soon_from_mongodb_through_rabbitmq() {
    let world = World::new().await.expect("a world");
    flooded_by(&Rig::in_world(&world).await, jobs().min(100_000)).await;
}
