//! What a consumer gets: everything, in order, and no more than it asked for.

use std::{collections::BTreeSet, time::Duration};

use gristmill_common::job::Priority;

use super::{
    Backend, Bench,
    build::{collect, dispatch, numbers, tags},
};

/// A message arrives as it was sent, after those that were sent before it.
pub async fn dispatches_come_whole_and_in_order(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let mut first = dispatch(0, Priority::Normal);
    first.claims = 7;
    first.trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    bench.broker.publish(&bench.queue, vec![first.clone()]).await.expect("published");
    bench.publish(1..50).await;
    bench.publish(50..100).await;
    let mut consumer = bench.consumer(100).await;
    let deliveries = collect(&mut consumer, 100).await;
    assert_eq!(deliveries[0].dispatch, first);
    assert_eq!(numbers(&deliveries), (0..100).collect::<Vec<_>>());
    assert_eq!(tags(&deliveries).into_iter().collect::<BTreeSet<_>>().len(), 100, "every tag is another");
}

/// `most` bounds one call.
pub async fn no_more_come_at_once_than_were_asked_for(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..10).await;
    let mut consumer = bench.consumer(10).await;
    let mut received = Vec::new();
    while received.len() < 10 {
        let deliveries = consumer.recv(3).await.expect("deliveries");
        assert!((1..=3).contains(&deliveries.len()), "{} deliveries", deliveries.len());
        received.extend(numbers(&deliveries));
    }
    assert_eq!(received, (0..10).collect::<Vec<_>>());
}

/// A consumer holds at most its prefetch; the rest waits for others.
pub async fn the_prefetch_bounds_what_is_not_acked(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..5).await;
    let mut consumer = bench.consumer(2).await;
    assert_eq!(numbers(&collect(&mut consumer, 2).await), [0, 1]);
    bench.settles_at(3).await;
    let more = tokio::time::timeout(Duration::from_millis(50), consumer.recv(10)).await;
    assert!(more.is_err(), "nothing is delivered beyond the prefetch");
    let mut other = bench.consumer(10).await;
    assert_eq!(numbers(&collect(&mut other, 3).await), [2, 3, 4]);
}

/// Each dispatch goes to one consumer.
pub async fn consumers_share_and_nothing_is_doubled(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let (mut one, mut other) = (bench.consumer(5).await, bench.consumer(5).await);
    bench.publish(0..10).await;
    let mut received = numbers(&collect(&mut one, 5).await);
    received.extend(numbers(&collect(&mut other, 5).await));
    received.sort_unstable();
    assert_eq!(received, (0..10).collect::<Vec<_>>());
}

/// What a consumer did not ack waits again when it goes, before what came later.
pub async fn a_dropped_consumers_deliveries_come_again_in_order(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..6).await;
    let mut consumer = bench.consumer(4).await;
    let deliveries = collect(&mut consumer, 4).await;
    consumer.ack(&tags(&deliveries[1..2]));
    drop(consumer);
    bench.settles_at(5).await;
    let mut other = bench.consumer(10).await;
    assert_eq!(numbers(&collect(&mut other, 5).await), [0, 2, 3, 4, 5]);
}
