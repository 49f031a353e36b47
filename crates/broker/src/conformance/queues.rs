//! Declaring queues, and keeping them apart.

use gristmill_common::{BandKey, QueueName, job::Priority};

use super::{
    Backend, Bench,
    build::{collect, dispatch, numbers},
};
use crate::BrokerError;

/// A second declaration changes nothing: what waits goes on waiting.
pub async fn a_queue_may_be_declared_twice(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    bench.publish(0..3).await;
    bench.broker.declare(&bench.queue).await.expect("declared again");
    let mut consumer = bench.consumer(10).await;
    assert_eq!(numbers(&collect(&mut consumer, 3).await), [0, 1, 2]);
}

/// Nothing makes a queue but a declaration.
pub async fn an_undeclared_queue_is_refused(backend: &impl Backend) {
    let bench = Bench::new(backend).await;
    let queue: QueueName = format!("{}-no", bench.queue).parse().expect("a name");
    let band = BandKey { queue: queue.clone(), priority: Priority::High };
    let refused = |error: BrokerError| matches!(error, BrokerError::Undeclared(named) if named == queue);
    let dispatches = vec![dispatch(0, Priority::High)];
    assert!(bench.broker.publish(&queue, dispatches).await.is_err_and(refused), "publish");
    assert!(bench.broker.consume(&band, 1).await.err().is_some_and(refused), "consume");
    assert!(bench.broker.depth(&band).await.is_err_and(refused), "depth");
    assert!(bench.broker.purge(&band).await.is_err_and(refused), "purge");
}

/// A dispatch goes into the band of its priority, in its queue, and nowhere else.
pub async fn bands_and_queues_are_separate(backend: &impl Backend) {
    let (bench, other) = (Bench::new(backend).await, Bench::new(backend).await);
    let mixed = (0..6).map(|number| dispatch(number, Priority::ALL[number as usize % 3])).collect();
    bench.broker.publish(&bench.queue, mixed).await.expect("published");
    for (priority, expected) in Priority::ALL.into_iter().zip([[0, 3], [1, 4], [2, 5]]) {
        let band = bench.band_of(priority);
        assert_eq!(bench.broker.depth(&band).await.expect("a depth"), 2, "{priority:?}");
        let mut consumer = bench.broker.consume(&band, 10).await.expect("a consumer");
        assert_eq!(numbers(&collect(&mut consumer, 2).await), expected, "{priority:?}");
    }
    assert_eq!(other.depth().await, 0);
}

/// A broker that works says so.
pub async fn the_broker_answers(backend: &impl Backend) {
    backend.open().await.ping().await.expect("an answer");
}
