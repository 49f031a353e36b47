//! A broker that has its moods: it takes nothing for a queue, does not say what waits, or cannot be listened to.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gristmill_broker::{Broker, BrokerError, Consumer, Events, Heard, Published};
use gristmill_common::{
    BandKey, QueueName,
    message::{Dispatch, JobEvent},
};
use tokio::sync::watch;

/// How long RabbitMQ is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

pub struct Moody {
    broker: Arc<dyn Broker>,
    /// Nothing is confirmed for these.
    sick: Mutex<BTreeSet<QueueName>>,
    /// What waits in these is not said.
    mute: Mutex<BTreeSet<BandKey>>,
    deaf: watch::Sender<bool>,
    /// How often nothing was confirmed.
    pub unconfirmed: AtomicUsize,
    /// How often was not said what waits.
    pub unsaid: AtomicUsize,
    /// How often somebody had to wait to listen.
    pub unheard: AtomicUsize,
}

struct MoodyEvents {
    events: Box<dyn Events>,
    deaf: watch::Receiver<bool>,
}

impl Moody {
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        let deaf = watch::Sender::new(false);
        let (sick, mute, unconfirmed, unsaid, unheard) = Default::default();
        Self { broker, sick, mute, deaf, unconfirmed, unsaid, unheard }
    }

    pub fn is_sick_of(&self, queue: &QueueName) {
        self.sick.lock().expect("no panic").insert(queue.clone());
    }

    pub fn is_mute_about(&self, band: &BandKey) {
        self.mute.lock().expect("no panic").insert(band.clone());
    }

    /// Whoever listens hears nothing more, and nobody can listen anew.
    pub fn is_deaf(&self) {
        self.deaf.send_replace(true);
    }

    pub fn hears_again(&self) {
        self.deaf.send_replace(false);
    }
}

fn unavailable() -> BrokerError {
    BrokerError::Unavailable("on purpose".into())
}

#[async_trait]
impl Broker for Moody {
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError> {
        self.broker.declare(queue).await
    }

    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError> {
        let is_sick = self.sick.lock().expect("no panic").contains(queue);
        if is_sick {
            tokio::time::sleep(PATIENCE).await;
            self.unconfirmed.fetch_add(1, Ordering::Relaxed);
            return Ok(vec![Published::Refused; dispatches.len()]);
        }
        self.broker.publish(queue, dispatches).await
    }

    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError> {
        self.broker.consume(band, prefetch).await
    }

    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError> {
        let is_mute = self.mute.lock().expect("no panic").contains(band);
        if is_mute {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return Err(unavailable());
        }
        self.broker.depth(band).await
    }

    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError> {
        self.broker.purge(band).await
    }

    fn announce(&self, event: JobEvent) {
        self.broker.announce(event);
    }

    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError> {
        let mut deaf = self.deaf.subscribe();
        self.unheard.fetch_add(usize::from(*deaf.borrow()), Ordering::Relaxed);
        deaf.wait_for(|deaf| !deaf).await.map_err(|_| unavailable())?;
        Ok(Box::new(MoodyEvents { events: self.broker.listen().await?, deaf }))
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.broker.ping().await
    }
}

#[async_trait]
impl Events for MoodyEvents {
    async fn next(&mut self) -> Result<Heard, BrokerError> {
        tokio::select! {
            biased;
            _ = self.deaf.wait_for(|deaf| *deaf) => Err(unavailable()),
            heard = self.events.next() => heard,
        }
    }
}
