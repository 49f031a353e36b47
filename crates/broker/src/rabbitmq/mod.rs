//! The broker that a fleet shares. Dispatches are published on one connection and consumed on another: when the
//! broker is low on memory it stops reading from those who publish, and acks must go on.

mod bus;
mod consumer;
mod dial;
mod ledger;
mod link;
mod meters;
mod publisher;
mod reason;
mod topology;
mod url;

use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use gristmill_common::{
    BandKey, QueueName,
    breaker::Reading,
    message::{Dispatch, JobEvent},
};
use lapin::options::{QueueDeclareOptions, QueuePurgeOptions};

use self::{
    bus::{Announcer, RabbitEvents},
    consumer::RabbitConsumer,
    link::{Channels, Link, Trouble},
    publisher::Publisher,
    reason::Fault,
    topology::{Topology, declare_exchange},
    url::Address,
};
use crate::{Broker, BrokerError, Consumer, Events, Published, locked};

/// Queues and events of a RabbitMQ server.
pub(crate) struct RabbitBroker {
    publisher: Publisher,
    announcer: Announcer,
    /// For consumers and listeners, and for short calls: none of them publishes.
    consuming: Link,
    channels: Arc<Channels>,
    topology: Arc<Topology>,
    trouble: Arc<Trouble>,
}

impl RabbitBroker {
    /// Starts to connect, and returns at once.
    ///
    /// # Errors
    /// The URL is malformed.
    pub(crate) fn open(url: &str) -> Result<Self, BrokerError> {
        let address = Address::parse(url)?;
        let topology = Arc::new(Topology::new(address.prefix.clone()));
        let channels = Arc::new(Channels::default());
        let trouble = Arc::new(Trouble::default());
        let publishing = Link::open(address.clone(), "publish", trouble.clone(), Box::new(|_| async {}.boxed()));
        let publishing = Arc::new(publishing);
        let redeclares = {
            let (topology, channels) = (topology.clone(), channels.clone());
            Box::new(move |session: Arc<dial::Session>| {
                let (topology, channels) = (topology.clone(), channels.clone());
                async move { topology.declare_again(&session, &channels).await }.boxed()
            })
        };
        Ok(Self {
            publisher: Publisher::new(publishing.clone(), topology.clone()),
            announcer: Announcer::new(publishing, topology.exchange()),
            consuming: Link::open(address, "consume", trouble.clone(), redeclares),
            channels,
            topology,
            trouble,
        })
    }

    /// What went wrong with a call about a band.
    fn about(&self, band: &BandKey, fault: Fault) -> BrokerError {
        match fault {
            Fault::NotFound => {
                self.topology.forget(&band.queue);
                BrokerError::Undeclared(band.queue.clone())
            }
            Fault::Conflict(reason) => BrokerError::Conflict { queue: band.queue.clone(), reason },
            Fault::Unavailable(reason) => BrokerError::Unavailable(reason),
        }
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError> {
        let session = self.consuming.session()?;
        self.topology.declare(queue, &session, &self.channels).await
    }

    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError> {
        self.publisher.publish(queue, &dispatches).await
    }

    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError> {
        let session = self.consuming.session()?;
        let started = RabbitConsumer::start(session, self.topology.name_of(band), prefetch).await;
        Ok(Box::new(started.map_err(|fault| self.about(band, fault))?))
    }

    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError> {
        let session = self.consuming.session()?;
        let name = self.topology.name_of(band);
        let asked = self.channels.call(&session, |channel| async move {
            let options = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
            meters::sent("declare", 1);
            channel.queue_declare(name, options, Default::default()).await
        });
        let queue = asked.await.map_err(|fault| self.about(band, fault))?;
        Ok(queue.message_count() as usize)
    }

    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError> {
        let session = self.consuming.session()?;
        let name = self.topology.name_of(band);
        let asked = self
            .channels
            .call(&session, |channel| async move { channel.queue_purge(name, QueuePurgeOptions::default()).await });
        asked.await.map(drop).map_err(|fault| self.about(band, fault))
    }

    fn announce(&self, event: JobEvent) {
        self.announcer.announce(event);
    }

    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError> {
        let session = self.consuming.session()?;
        Ok(Box::new(RabbitEvents::listen(session, self.topology.exchange()).await?))
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.publisher.check()?;
        if let Some(conflict) = self.topology.conflict() {
            return Err(conflict);
        }
        let session = self.consuming.session()?;
        let exchange = self.topology.exchange();
        Ok(self.channels.call(&session, |channel| declare_exchange(channel, exchange)).await?)
    }

    fn breaker(&self) -> Reading {
        self.trouble.breaker()
    }
}
