//! Brokers on the server under test, each with names of its own, and the view of a second client.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use gristmill_broker::{
    Broker, BrokerError, Consumer, Events, Published, Reach,
    conformance::{Backend, dispatch},
};
use gristmill_common::{
    BandKey, JobId, QueueName,
    job::Priority,
    message::{Dispatch, JobEvent},
};
use lapin::{Channel, Connection, ConnectionProperties, options::QueueDeleteOptions};

const DEADLINE: Duration = Duration::from_secs(30);

/// The server that the tests run on.
pub(crate) fn server() -> String {
    std::env::var("AMQP_URL")
        .expect("AMQP_URL is not set: run the tests with make test, or start servers with deploy/services start")
}

/// The server's host and port.
pub(crate) fn address() -> String {
    let url = server();
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a host");
    authority.rsplit('@').next().expect("a host").to_owned()
}

/// The server's URL with another host and port.
pub(crate) fn server_at(address: impl std::fmt::Display) -> String {
    server().replace(&self::address(), &address.to_string())
}

/// Waits until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// A place on the server with names that no other test uses. Its queues are deleted with it.
pub(crate) struct Rabbit {
    prefix: String,
    declared: Arc<Mutex<Vec<QueueName>>>,
}

impl Rabbit {
    pub(crate) fn new() -> Self {
        Self { prefix: format!("test-{}", JobId::fresh()), declared: Arc::default() }
    }

    /// A broker here that has not connected yet, by way of this address.
    pub(crate) async fn open_at(&self, url: &str) -> Arc<dyn Broker> {
        let opened = gristmill_broker::open(&format!("{url}?prefix={}", self.prefix)).await.expect("a good URL");
        assert_eq!(opened.reach, Reach::Shared);
        Arc::new(Recording { broker: opened.broker, declared: self.declared.clone() })
    }

    /// The server's name for a band of normal priority.
    pub(crate) fn name(&self, queue: &QueueName) -> String {
        format!("{}.{queue}.normal", self.prefix)
    }
}

#[async_trait]
impl Backend for Rabbit {
    async fn open(&self) -> Arc<dyn Broker> {
        let broker = self.open_at(&server()).await;
        connected(&*broker).await;
        broker
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        let names: Vec<String> = std::mem::take(&mut *self.declared.lock().expect("no panic"))
            .into_iter()
            .flat_map(|queue| Priority::ALL.map(|band| format!("{}.{queue}.{}", self.prefix, band.as_str())))
            .collect();
        if names.is_empty() {
            return;
        }
        // A drop cannot wait within the test's own runtime.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (_connection, channel) = client().await;
                for name in names {
                    let _ = channel.queue_delete(name.into(), QueueDeleteOptions::default()).await;
                }
            });
        });
        let _ = deleting.join();
    }
}

/// Waits until the broker answers.
pub(crate) async fn connected(broker: &dyn Broker) {
    eventually("an answer", || async { broker.ping().await.ok() }).await;
}

/// Waits until the broker says why it does not answer.
pub(crate) async fn trouble(broker: &dyn Broker, words: &str) -> String {
    eventually(words, || async {
        let reason = broker.ping().await.err()?.to_string();
        reason.contains(words).then_some(reason)
    })
    .await
}

/// A second client of the server.
pub(crate) async fn client() -> (Connection, Channel) {
    let connection = Connection::connect(&server(), ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

/// A queue that no other test uses, not yet declared.
pub(crate) fn fresh_queue() -> QueueName {
    format!("queue-{}", JobId::fresh()).parse().expect("a name")
}

/// The band of normal priority.
pub(crate) fn band(queue: &QueueName) -> BandKey {
    BandKey { queue: queue.clone(), priority: Priority::Normal }
}

/// Numbered dispatches of normal priority.
pub(crate) fn dispatches(numbers: std::ops::Range<u32>) -> Vec<Dispatch> {
    numbers.map(|number| dispatch(number, Priority::Normal)).collect()
}

/// Remembers what is declared.
struct Recording {
    broker: Arc<dyn Broker>,
    declared: Arc<Mutex<Vec<QueueName>>>,
}

#[async_trait]
impl Broker for Recording {
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError> {
        self.declared.lock().expect("no panic").push(queue.clone());
        self.broker.declare(queue).await
    }

    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError> {
        self.broker.publish(queue, dispatches).await
    }

    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError> {
        self.broker.consume(band, prefetch).await
    }

    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError> {
        self.broker.depth(band).await
    }

    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError> {
        self.broker.purge(band).await
    }

    fn announce(&self, event: JobEvent) {
        self.broker.announce(event);
    }

    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError> {
        self.broker.listen().await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.broker.ping().await
    }
}
