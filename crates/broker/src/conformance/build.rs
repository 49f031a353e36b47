//! A queue of one's own, numbered dispatches, and waits with a deadline.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_common::{
    BandKey, JobId, QueueName, Tenant,
    job::Priority,
    message::{DISPATCH_VERSION, Dispatch},
};

use super::Backend;
use crate::{Broker, Consumer, Delivery, Published};

/// Long enough for any broker on any machine: only a failure waits for it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A broker, and a queue of it that nobody else uses.
pub struct Bench {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The queue.
    pub queue: QueueName,
}

/// The dispatch with this number.
#[must_use]
pub fn dispatch(number: u32, priority: Priority) -> Dispatch {
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    Dispatch {
        v: DISPATCH_VERSION,
        tenant: Tenant::default(),
        job_id: JobId::from_bytes(bytes),
        job_type: "sleep".parse().expect("a name"),
        claims: 0,
        priority,
        trace: None,
        gates: None,
    }
}

/// The number of a dispatch that [`dispatch`] made.
#[must_use]
pub fn number_of(dispatch: &Dispatch) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&dispatch.job_id.as_bytes()[12..]);
    u32::from_be_bytes(number)
}

/// The numbers of deliveries, in their order.
pub(super) fn numbers(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| number_of(&delivery.dispatch)).collect()
}

/// The tags of deliveries.
pub(super) fn tags(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

/// Waits for what must come; fails when it does not.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {DEADLINE:?}"))
}

/// Receives until there are so many deliveries.
pub(super) async fn collect(consumer: &mut Box<dyn Consumer>, number: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < number {
        let more = within("a delivery", consumer.recv(number - deliveries.len())).await;
        deliveries.extend(more.expect("the consumer works"));
    }
    deliveries
}

impl Bench {
    /// Opens the broker and declares a fresh queue.
    pub async fn new(backend: &impl Backend) -> Self {
        let broker = backend.open().await;
        let queue: QueueName = format!("check-{}", JobId::fresh()).parse().expect("a name");
        broker.declare(&queue).await.expect("the queue is declared");
        Self { broker, queue }
    }

    /// The band of normal priority.
    #[must_use]
    pub fn band(&self) -> BandKey {
        self.band_of(Priority::Normal)
    }

    /// A band.
    #[must_use]
    pub fn band_of(&self, priority: Priority) -> BandKey {
        BandKey { queue: self.queue.clone(), priority }
    }

    /// Publishes numbered dispatches to the band of normal priority; all are confirmed.
    pub async fn publish(&self, numbers: impl IntoIterator<Item = u32>) {
        let outcomes = self.try_publish(numbers).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Published::Confirmed), "{outcomes:?}");
    }

    /// Publishes numbered dispatches to the band of normal priority.
    pub async fn try_publish(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<Published> {
        let dispatches: Vec<Dispatch> = numbers.into_iter().map(|number| dispatch(number, Priority::Normal)).collect();
        let number = dispatches.len();
        let outcomes = self.broker.publish(&self.queue, dispatches).await.expect("the broker can be reached");
        assert_eq!(outcomes.len(), number, "one outcome for each dispatch");
        outcomes
    }

    /// A consumer of the band of normal priority.
    pub async fn consumer(&self, prefetch: usize) -> Box<dyn Consumer> {
        self.broker.consume(&self.band(), prefetch).await.expect("a consumer")
    }

    /// How many wait in the band of normal priority.
    pub async fn depth(&self) -> usize {
        self.broker.depth(&self.band()).await.expect("a depth")
    }

    /// Waits until so many wait in the band of normal priority: a broker may count a little late.
    pub async fn settles_at(&self, ready: usize) {
        let started = Instant::now();
        loop {
            let depth = self.depth().await;
            if depth == ready {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "{ready} should wait, but {depth} do");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drops a consumer, and fails unless exactly these come again.
    pub(super) async fn come_again_after(&self, consumer: Box<dyn Consumer>, expected: &[u32]) {
        drop(consumer);
        // What comes after them shows that there are no others, for bands keep their order.
        self.settles_at(expected.len()).await;
        self.publish([u32::MAX]).await;
        let mut other = self.consumer(expected.len() + 1).await;
        let deliveries = collect(&mut other, expected.len() + 1).await;
        assert_eq!(numbers(&deliveries), [expected, &[u32::MAX]].concat());
        other.ack(&tags(&deliveries));
    }
}
