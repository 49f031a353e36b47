//! Somebody purges a queue in RabbitMQ: the store still knows every job.

use std::time::{Duration, Instant};

use gristmill_testkit::{Kind, World, eventually};
use serde_json::json;

use crate::{all_end, fleet, turn};

const JOBS: usize = 1_000;
/// How many of them wait in RabbitMQ at least, while nobody takes them: the rest is the store's until somebody does.
const IN_RABBITMQ: u64 = 200;
/// Within this time of the purge the first job has ended.
const FIRST: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_purged_by_hand_is_filled_again() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    // Nobody takes what waits in RabbitMQ.
    let mut fleet = fleet().count(Kind::Worker, 0).start(world).await.expect("a fleet");
    let http = fleet.http();
    let job = json!({"type": "sleep", "payload": {"ms": 0}});
    let batch = http.post("/jobs/batch", &json!({"jobs": vec![job; JOBS]})).await.expect(202);
    assert_eq!(batch.items().len(), JOBS);
    let full = eventually("jobs wait in RabbitMQ", || async {
        let waiting = fleet.world().rabbit().waiting().await.expect("an answer");
        let full: Vec<_> = waiting.into_iter().filter(|queue| queue.ready > 0).collect();
        (full.iter().map(|queue| queue.ready).sum::<u64>() >= IN_RABBITMQ).then_some(full)
    })
    .await;
    for queue in &full {
        fleet.world().rabbit().purge(&queue.queue).await.expect("purged");
    }
    let purged = Instant::now();
    fleet.add(Kind::Worker).await.expect("a worker");
    let first = all_end(&http, JOBS as u64, purged, Duration::from_secs(90)).await;
    assert!(first < FIRST, "the first job ended {first:?} after the purge");
    println!(
        "the messages of {JOBS} jobs purged: the first ended after {first:.1?}, the last after {:.1?}",
        purged.elapsed()
    );
}
