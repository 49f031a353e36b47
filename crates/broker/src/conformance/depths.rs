//! How much a band holds: counted, emptied, bounded.

use super::{
    Backend, Bench,
    build::{collect, numbers, tags, within},
};
use crate::{MOST_READY, Published};

/// The depth is what waits for a consumer, and not what consumers hold.
pub async fn the_depth_counts_what_waits_for_a_consumer(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    assert_eq!(bench.depth().await, 0);
    bench.publish(0..10).await;
    bench.settles_at(10).await;
    let mut consumer = bench.consumer(4).await;
    let deliveries = collect(&mut consumer, 4).await;
    bench.settles_at(6).await;
    consumer.ack(&tags(&deliveries));
    // What is acked makes room for more only when the consumer takes it.
    collect(&mut consumer, 3).await;
    within("fewer that wait", async {
        while bench.depth().await > 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// What waits is gone; what is in hand can still be acked, and new dispatches come through.
pub async fn a_purge_leaves_what_is_in_hand(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..10).await;
    let mut consumer = bench.consumer(2).await;
    let deliveries = collect(&mut consumer, 2).await;
    bench.settles_at(8).await;
    bench.broker.purge(&bench.band()).await.expect("purged");
    bench.settles_at(0).await;
    consumer.ack(&tags(&deliveries));
    bench.publish([10]).await;
    assert_eq!(numbers(&collect(&mut consumer, 1).await), [10]);
}

/// A band holds [`MOST_READY`], refuses what is over, and loses nothing of what it took.
pub async fn a_full_band_refuses_and_takes_again(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let most = MOST_READY as u32;
    bench.publish(0..most).await;
    // A broker may notice a little late that it is full.
    let outcomes = bench.try_publish(most..2 * most).await;
    assert!(outcomes.contains(&Published::Refused), "a full band refuses");
    let over: Vec<u32> = (most..2 * most)
        .zip(&outcomes)
        .filter_map(|(number, outcome)| (*outcome == Published::Confirmed).then_some(number))
        .collect();
    let mut consumer = bench.consumer(1_000).await;
    let mut received = Vec::new();
    while received.len() < MOST_READY + over.len() {
        let deliveries = within("a delivery", consumer.recv(1_000)).await.expect("deliveries");
        consumer.ack(&tags(&deliveries));
        received.extend(numbers(&deliveries));
    }
    assert_eq!(received, (0..most).chain(over).collect::<Vec<_>>());
    bench.settles_at(0).await;
    bench.publish([2 * most]).await;
    assert_eq!(numbers(&collect(&mut consumer, 1).await), [2 * most]);
}
