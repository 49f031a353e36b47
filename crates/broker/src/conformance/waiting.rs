//! Waiting: whoever waits is woken, and whoever stops waiting takes nothing along.

use std::time::Duration;

use super::{
    Backend, Bench,
    build::{collect, numbers, tags, within},
};

/// A consumer that found nothing gets what comes later.
pub async fn a_waiting_consumer_wakes(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let mut consumer = bench.consumer(10).await;
    let waiting = tokio::spawn(async move { numbers(&collect(&mut consumer, 1).await) });
    // It waits, most likely, by the time that this is over; and if not, it must get the dispatch all the same.
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.publish([7]).await;
    assert_eq!(within("the wake-up", waiting).await.expect("no panic"), [7]);
}

/// What comes back from a dropped consumer wakes one that waits.
pub async fn a_dropped_consumer_wakes_another(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..3).await;
    let mut consumer = bench.consumer(3).await;
    collect(&mut consumer, 3).await;
    let mut other = bench.consumer(3).await;
    let waiting = tokio::spawn(async move { numbers(&collect(&mut other, 3).await) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(consumer);
    assert_eq!(within("the wake-up", waiting).await.expect("no panic"), [0, 1, 2]);
}

/// `recv` may be dropped at any point, again and again, and nothing is lost or doubled.
pub async fn a_cancelled_wait_loses_nothing(backend: &impl Backend) {
    const NUMBER: u32 = 2_000;
    let bench = Bench::new(backend).await;
    let mut consumer = bench.consumer(64).await;
    let mut received = Vec::new();
    let publishing = async {
        for number in 0..NUMBER {
            bench.publish([number]).await;
            tokio::task::yield_now().await;
        }
    };
    let receiving = async {
        while received.len() < NUMBER as usize {
            // Cancelled after no, one or a few polls.
            let patience = Duration::from_micros(received.len() as u64 % 3 * 50);
            if let Ok(deliveries) = tokio::time::timeout(patience, consumer.recv(7)).await {
                let deliveries = deliveries.expect("deliveries");
                consumer.ack(&tags(&deliveries));
                received.extend(numbers(&deliveries));
            }
            tokio::task::yield_now().await;
        }
    };
    within("every delivery", async { tokio::join!(publishing, receiving) }).await;
    assert_eq!(received, (0..NUMBER).collect::<Vec<_>>());
}

/// A consumer that goes just as it is woken leaves the dispatch to the next one.
pub async fn a_wake_up_is_never_lost_with_who_got_it(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    for number in 0..200 {
        let (mut going, mut staying) = (bench.consumer(1).await, bench.consumer(1).await);
        let first = tokio::spawn(async move {
            let _ = going.recv(1).await;
        });
        let second = tokio::spawn(async move {
            let deliveries = collect(&mut staying, 1).await;
            staying.ack(&tags(&deliveries));
            numbers(&deliveries)
        });
        tokio::task::yield_now().await;
        bench.publish([number]).await;
        first.abort();
        assert_eq!(within("the delivery", second).await.expect("no panic"), [number]);
    }
}
