//! A long backlog stays in the store: RabbitMQ holds a window of it, and no other queue has to wait.

use std::time::{Duration, Instant};

use gristmill_testkit::{Http, Kind, World, eventually};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{counts, fleet, turn};

const JOBS: usize = 100_000;
const BATCH: usize = 1_000;
/// The most that may wait in a queue of RabbitMQ: what each gateway rings for before it hears of a backlog, the leader's
/// window, which is what is taken in a quarter of a second, and what workers have in hand.
const WINDOW: u64 = 4_096;
/// Within this time a newcomer in another queue has been run.
const SOON: Duration = Duration::from_secs(5);

/// The most that waits in one queue of RabbitMQ at this moment.
async fn most_waiting(world: &World) -> u64 {
    let waiting = world.rabbit().waiting().await.expect("an answer");
    waiting.iter().map(|queue| queue.ready + queue.unacknowledged).max().unwrap_or(0)
}

async fn newcomer(http: &Http, queue: &str) -> Duration {
    let began = Instant::now();
    let job = http.ended(&http.submit(json!({"type": "sleep", "payload": {"ms": 0}, "queue": queue})).await).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_waiting_jobs_fill_the_window_and_no_more() {
    let _turn = turn().await;
    let world = World::new().await.expect("a world");
    let mut fleet = fleet().count(Kind::Worker, 0).start(world).await.expect("a fleet");
    let http = fleet.http();
    let began = Instant::now();
    let batch = json!({"jobs": vec![json!({"type": "sleep", "payload": {"ms": 1}}); BATCH]});
    let mut sending = JoinSet::new();
    for _ in 0..4 {
        let (http, batch) = (fleet.http(), batch.clone());
        sending.spawn(async move {
            for _ in 0..JOBS / BATCH / 4 {
                let answer = http.post("/jobs/batch", &batch).await.expect(202);
                assert!(answer.items().iter().all(|item| item["status"] == 202), "{}", answer.text);
            }
        });
    }
    let mut most = 0;
    while sending.try_join_next().is_some() || !sending.is_empty() {
        most = most.max(most_waiting(fleet.world()).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let stored = began.elapsed();
    eventually("all are counted", || async { (counts(&http).await["queued"] == JOBS).then_some(()) }).await;
    // RabbitMQ tells what waits with a delay of some seconds.
    eventually("the broker is fed", || async { (most_waiting(fleet.world()).await > 0).then_some(()) }).await;
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(7) {
        most = most.max(most_waiting(fleet.world()).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(most <= WINDOW, "{most} wait in one queue of RabbitMQ");

    let _ = http.send(Method::PUT, "/queues/newcomers").await.expect(200);
    fleet.add(Kind::Worker).await.expect("a worker");
    let at_once = newcomer(&http, "newcomers").await;
    eventually("the backlog is worked at", || async {
        (counts(&http).await["succeeded"].as_u64() > Some(200)).then_some(())
    })
    .await;
    let in_the_middle = newcomer(&http, "newcomers").await;
    let left = counts(&http).await["queued"].as_u64().expect("a count");
    assert!(left > 0, "there is a backlog still");
    most = most.max(most_waiting(fleet.world()).await);
    assert!(most <= WINDOW, "{most} wait in one queue of RabbitMQ");
    assert!(at_once.max(in_the_middle) < SOON, "newcomers waited {at_once:?} and {in_the_middle:?}");
    println!(
        "{JOBS} jobs stored within {stored:.1?}; at most {most} in a queue of RabbitMQ; newcomers in another queue were \
         done after {at_once:.2?} and {in_the_middle:.2?}, with {left} waiting"
    );
}
