//! Crowds: many publishers and many consumers at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Backend, Bench,
    build::{numbers, tags, within},
};

const PUBLISHERS: u32 = 64;
const EACH: u32 = 50;

/// Starts the publishers; each publishes its own numbers, a few at a time.
fn publish_from_all_sides(bench: &Arc<Bench>, tasks: &mut JoinSet<()>) {
    for publisher in 0..PUBLISHERS {
        let bench = bench.clone();
        tasks.spawn(async move {
            for start in (publisher * EACH..(publisher + 1) * EACH).step_by(10) {
                bench.publish(start..start + 10).await;
            }
        });
    }
}

/// Nothing is lost, and while every consumer stays, nothing is doubled.
pub async fn every_dispatch_of_64_publishers_reaches_one_of_8_consumers(backend: &impl Backend) {
    let bench = Arc::new(Bench::new(backend).await);
    let mut tasks = JoinSet::new();
    let (seen, mut sightings) = mpsc::unbounded_channel();
    for _ in 0..8 {
        let (mut consumer, seen) = (bench.consumer(16).await, seen.clone());
        tasks.spawn(async move {
            loop {
                let deliveries = consumer.recv(16).await.expect("deliveries");
                consumer.ack(&tags(&deliveries));
                if numbers(&deliveries).into_iter().any(|number| seen.send(number).is_err()) {
                    return;
                }
            }
        });
    }
    publish_from_all_sides(&bench, &mut tasks);
    let mut received = BTreeSet::new();
    within("every delivery", async {
        while received.len() < (PUBLISHERS * EACH) as usize {
            let number = sightings.recv().await.expect("the consumers run");
            assert!(received.insert(number), "{number} came twice");
        }
    })
    .await;
    bench.settles_at(0).await;
    assert!(sightings.try_recv().is_err(), "nothing came twice");
}

/// Consumers that go with deliveries in hand, over and over, lose none.
pub async fn no_dispatch_is_lost_while_consumers_come_and_go(backend: &impl Backend) {
    let bench = Arc::new(Bench::new(backend).await);
    let mut tasks = JoinSet::new();
    let (seen, mut sightings) = mpsc::unbounded_channel();
    for _ in 0..8 {
        let (bench, seen) = (bench.clone(), seen.clone());
        tasks.spawn(async move {
            loop {
                let mut consumer = bench.consumer(8).await;
                // Some of the consumers go while they wait, all go with half of what they got.
                let Ok(deliveries) = tokio::time::timeout(Duration::from_millis(20), consumer.recv(8)).await else {
                    continue;
                };
                let mut done = deliveries.expect("deliveries");
                done.truncate(done.len().div_ceil(2));
                consumer.ack(&tags(&done));
                if numbers(&done).into_iter().any(|number| seen.send(number).is_err()) {
                    return;
                }
            }
        });
    }
    publish_from_all_sides(&bench, &mut tasks);
    let mut received = BTreeSet::new();
    within("every delivery", async {
        while received.len() < (PUBLISHERS * EACH) as usize {
            // A broker may deliver again what was acked just as its consumer went.
            received.insert(sightings.recv().await.expect("the consumers run"));
        }
    })
    .await;
}
