//! A backlog of any length stays in the store: the broker holds a window of it, and nobody else waits for it.
//!
//! `GRISTMILL_FLOOD=1000000` tries longer ones than an ordinary run does.

mod support;

use std::{
    env,
    time::{Duration, Instant},
};

use gristmill_common::{
    BandKey, State, Timestamp,
    job::{Job, Priority},
};
use gristmill_engine::{Origin, WorkerConfig};
use gristmill_testkit::{World, eventually};
use serde_json::json;
use support::{Rig, request, tenant};

const BATCH: usize = 1_000;
/// The most that submitters and the leader leave in the broker while nobody takes from it: what submitters ring for
/// before they hear of a backlog, twice for good measure, and the least window.
const WINDOW: usize = 2_048;
/// What may be run before the other tenant's job, however slow this machine is: the least window, and what a worker
/// has in hand.
const AHEAD: usize = 1_024;
/// After so long the other tenant's job is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

fn jobs() -> usize {
    env::var("GRISTMILL_FLOOD").map_or(20_000, |jobs| jobs.parse().expect("a number"))
}

fn started_between(starts: &[Timestamp], from: Timestamp, to: Timestamp) -> usize {
    starts.iter().filter(|&&at| from <= at && at <= to).count()
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
    eventually("the broker is fed", || async { (in_broker().await > 0).then_some(()) }).await;
    let watched = Instant::now();
    let mut most = 0;
    while watched.elapsed() < Duration::from_secs(2) {
        most = most.max(in_broker().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(most <= WINDOW, "{most} wait in the broker");

    rig.work_with(WorkerConfig { concurrency: 8, ..WorkerConfig::default() });
    eventually("the flood is worked at", || async {
        let counts = rig.engine.stats(&tenant("default")).await.expect("statistics").counts;
        (counts.succeeded > 2_000).then_some(())
    })
    .await;
    let origin = Origin { tenant: tenant("other"), ..Origin::default() };
    let other = rig.engine.submit(origin, request("sleep", json!({"ms": 0}))).await.expect("accepted").key;
    rig.engine.wait(&other, PATIENCE).await.expect("a job");
    let Job { state, created_at, started_at, .. } = rig.job(&other).await;
    assert_eq!(state, State::Succeeded);
    let started_at = started_at.expect("it was run");
    let starts: Vec<Timestamp> = rig.jobs_of("default").await.iter().filter_map(|job| job.started_at).collect();
    let pace = started_between(&starts, created_at - Duration::from_secs(1), created_at);
    let before = started_between(&starts, created_at, started_at);
    println!(
        "{jobs} jobs stored within {stored:.1?}; at most {most} in the broker; {before} of the flood were run before \
         the other tenant's job, which waited {:.2?}; {pace} in the second before",
        started_at.since(created_at)
    );
    // It had to wait for what was in the broker before it, which is what is run in half a second, and for no more.
    assert!(before <= 2 * pace + AHEAD, "{before} were run before it");
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
