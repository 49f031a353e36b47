//! A broker that loses and doubles messages, and is away now and then, as a mood says.

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_broker::{Broker, BrokerError, Consumer, Delivery, Events, Published};
use gristmill_common::{
    BandKey, QueueName,
    message::{Dispatch, JobEvent},
};

use super::mood::{Dispatched, Mood};

/// A broker in a mood.
pub(crate) struct FaultyBroker {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mood: Arc<Mood>,
}

struct FaultyConsumer {
    consumer: Box<dyn Consumer>,
    mood: Arc<Mood>,
}

impl FaultyBroker {
    async fn is_there(&self) -> Result<(), BrokerError> {
        self.mood.passes().await;
        if self.mood.broker_is_away() { Err(away()) } else { Ok(()) }
    }
}

fn away() -> BrokerError {
    BrokerError::Unavailable("it is away on purpose".into())
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError> {
        self.is_there().await?;
        self.broker.declare(queue).await
    }

    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError> {
        self.is_there().await?;
        let fates: Vec<Dispatched> = dispatches.iter().map(|_| self.mood.of_a_dispatch()).collect();
        let copies = dispatches.into_iter().zip(&fates).flat_map(|(dispatch, fate)| {
            let times = match fate {
                Dispatched::Never => 0,
                Dispatched::Once => 1,
                Dispatched::Twice => 2,
            };
            std::iter::repeat_n(dispatch, times)
        });
        let mut published = self.broker.publish(queue, copies.collect()).await?.into_iter();
        let told = fates.iter().map(|fate| match fate {
            Dispatched::Never => Published::Confirmed,
            Dispatched::Once => published.next().unwrap_or(Published::Refused),
            Dispatched::Twice => {
                let first = published.next().unwrap_or(Published::Refused);
                published.next();
                first
            }
        });
        Ok(told.collect())
    }

    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError> {
        self.is_there().await?;
        let consumer = self.broker.consume(band, prefetch).await?;
        Ok(Box::new(FaultyConsumer { consumer, mood: self.mood.clone() }))
    }

    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError> {
        self.is_there().await?;
        self.broker.depth(band).await
    }

    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError> {
        self.broker.purge(band).await
    }

    fn announce(&self, event: JobEvent) {
        self.broker.announce(event);
    }

    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError> {
        self.is_there().await?;
        self.broker.listen().await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.is_there().await
    }
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn recv(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError> {
        // Before, and not after: what has been received must not be lost when nobody waits any more.
        self.mood.passes().await;
        if self.mood.broker_is_away() {
            return Err(away());
        }
        self.consumer.recv(most).await
    }

    fn ack(&self, tags: &[u64]) {
        self.consumer.ack(tags);
    }
}
