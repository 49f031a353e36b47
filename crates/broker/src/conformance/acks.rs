//! Acks: they make room, and what is acked is done with.

use super::{
    Backend, Bench,
    build::{collect, numbers, tags},
};

/// A consumer whose hands are full goes on as it acks, one at a time.
pub async fn an_ack_makes_room(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..20).await;
    let mut consumer = bench.consumer(2).await;
    let mut held = collect(&mut consumer, 2).await;
    for expected in 2..20 {
        let done = held.remove(0);
        consumer.ack(&[done.tag]);
        let next = collect(&mut consumer, 1).await;
        assert_eq!(numbers(&next), [expected]);
        held.extend(next);
    }
}

/// Thousands of acks in one call, in any order.
pub async fn many_are_acked_at_once(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let mut consumer = bench.consumer(5_000).await;
    bench.publish(0..5_000).await;
    let mut tags = tags(&collect(&mut consumer, 5_000).await);
    tags.reverse();
    consumer.ack(&tags);
    bench.come_again_after(consumer, &[]).await;
}

/// Dropping the consumer brings back what it held, and nothing else.
pub async fn what_is_acked_never_comes_again(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..100).await;
    let mut consumer = bench.consumer(100).await;
    let deliveries = collect(&mut consumer, 100).await;
    let (even, odd): (Vec<_>, Vec<_>) = deliveries.into_iter().partition(|delivery| delivery.tag % 2 == 0);
    consumer.ack(&tags(&even));
    // As many more come only when all of these acks have arrived: one that has not when its consumer goes may be
    // lost with it.
    bench.publish(100..150).await;
    let more = collect(&mut consumer, even.len()).await;
    bench.come_again_after(consumer, &[numbers(&odd), numbers(&more)].concat()).await;
}
