#![doc = include_str!("../README.md")]

#[cfg(feature = "conformance")]
pub mod conformance;
mod embedded;
mod open;
mod rabbitmq;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use gristmill_common::{
    BandKey, QueueName,
    breaker::Reading,
    message::{Dispatch, JobEvent},
};

pub use open::{Opened, Reach, open};

/// A broker could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be reached, or did not answer in time.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The queue was never declared.
    #[error("queue `{0}` is not declared")]
    Undeclared(QueueName),
    /// The broker has a queue of this name, with other arguments. Other queues go on working.
    #[error("queue `{queue}` exists in the broker with other arguments: {reason}")]
    Conflict {
        /// Which queue.
        queue: QueueName,
        /// The broker's own words.
        reason: String,
    },
    /// The URL names no backend.
    #[error("broker.url: {0}")]
    Url(String),
}

/// What became of one dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The broker has it.
    Confirmed,
    /// The broker has no room for it just now, or did not confirm in time: the scheduler rings again later.
    Refused,
}

/// The most dispatches that one band may hold: what is over is refused and stays in the store.
pub const MOST_READY: usize = 10_000;

/// A queue with three bands each, and a bus for events. Delivery is at least once, in order within a band while
/// nothing is redelivered.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Declares a queue: a broker queue for each band. Declaring it again does nothing.
    ///
    /// # Errors
    /// The broker could not be reached.
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError>;

    /// Publishes dispatches to a queue, each into its band, and waits for the broker to confirm them. One
    /// outcome for each, in the order given.
    ///
    /// # Errors
    /// The broker could not be reached, or the queue is not declared. Some may have been published all the same.
    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError>;

    /// Starts to take from a band of a queue: at most `prefetch` dispatches are delivered and not yet acked at a
    /// time.
    ///
    /// # Errors
    /// The broker could not be reached, or the queue is not declared.
    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError>;

    /// How many dispatches wait in a band for a consumer. What consumers hold and have not acked is not among them.
    ///
    /// # Errors
    /// The broker could not be reached, or the queue is not declared.
    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError>;

    /// Drops everything that waits in a band, unacked deliveries aside.
    ///
    /// # Errors
    /// The broker could not be reached, or the queue is not declared.
    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError>;

    /// Tells everyone who listens. Best effort, never waits.
    fn announce(&self, event: JobEvent);

    /// Listens to what is announced from now on.
    ///
    /// # Errors
    /// The broker could not be reached.
    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError>;

    /// Whether the broker answers: for health.
    ///
    /// # Errors
    /// It does not.
    async fn ping(&self) -> Result<(), BrokerError>;

    /// Whether calls reach the broker, or are refused before: asks nobody.
    fn breaker(&self) -> Reading {
        Reading::default()
    }
}

/// A dispatch in hand, until it is acked.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub dispatch: Dispatch,
    /// For the ack.
    pub tag: u64,
}

/// Takes dispatches from one band of one queue. When it is dropped, what it did not ack waits again.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for dispatches, and returns all that are there, at most `most`, at least one. Safe to cancel: what
    /// was not returned is not lost.
    ///
    /// # Errors
    /// The broker can no longer be reached; drop the consumer and start another.
    async fn recv(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError>;

    /// Acks deliveries of this consumer: they are done with. Does not wait.
    fn ack(&self, tags: &[u64]);
}

/// Hears what is announced.
#[async_trait]
pub trait Events: Send {
    /// Waits for the next event. A listener that is too slow misses some and is told so.
    ///
    /// # Errors
    /// The broker can no longer be reached; listen anew.
    async fn next(&mut self) -> Result<Heard, BrokerError>;
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A job has changed.
    Event(JobEvent),
    /// Events were missed: whoever waits for a job asks the store.
    Missed,
}

/// Takes a lock, also one that a panic has left behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
