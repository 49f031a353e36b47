//! The bus of events: a fanout exchange, and a queue of its own for each listener. Nothing on it is confirmed or kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use gristmill_common::message::{JOB_EVENTS_VERSION, JobEvent, JobEvents, decode};
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    dial::Session,
    link::Link,
    meters,
    reason::{Fault, reason},
    topology::declare_exchange,
};
use crate::{BrokerError, Events, Heard};

/// How many events may wait to be sent.
const MOST_WAITING: usize = 8_192;
/// How many go in one message.
const MOST_TOGETHER: usize = 256;
/// How many messages the broker keeps for a listener; then it drops the oldest.
const MOST_KEPT: i64 = 1_024;
/// How many messages a listener takes ahead.
const PREFETCH: u16 = 64;
/// How many senders a listener tells apart.
const MOST_SENDERS: usize = 1_024;

/// Sends events.
pub(super) struct Announcer {
    events: mpsc::Sender<JobEvent>,
    /// Events found no room: the next message must show it.
    missed: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

impl Announcer {
    pub(super) fn new(link: Arc<Link>, exchange: ShortString) -> Self {
        let (events, waiting) = mpsc::channel(MOST_WAITING);
        let missed = Arc::new(AtomicBool::new(false));
        let sending = Sender { link, exchange, from: fastrand::u64(..), seq: 0, missed: missed.clone(), channel: None };
        Self { events, missed, sender: tokio::spawn(sending.run(waiting)) }
    }

    pub(super) fn announce(&self, event: JobEvent) {
        if self.events.try_send(event).is_err() {
            self.missed.store(true, Ordering::Relaxed);
            meters::events_dropped(1);
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

struct Sender {
    link: Arc<Link>,
    exchange: ShortString,
    /// Tells the senders apart.
    from: u64,
    /// A listener knows by a gap in it that something was missed.
    seq: u64,
    missed: Arc<AtomicBool>,
    channel: Option<Channel>,
}

impl Sender {
    async fn run(mut self, mut waiting: mpsc::Receiver<JobEvent>) {
        let mut events = Vec::new();
        while waiting.recv_many(&mut events, MOST_TOGETHER).await > 0 {
            if self.missed.swap(false, Ordering::Relaxed) {
                self.seq += 1;
            }
            self.seq += 1;
            let number = events.len();
            let message = JobEvents { v: JOB_EVENTS_VERSION, from: self.from, seq: self.seq, events };
            if let Err(fault) = self.send(&message).await {
                tracing::debug!(?fault, number, "events were not sent");
                meters::events_dropped(number);
                self.channel = None;
            }
            events = message.events;
            events.clear();
        }
    }

    async fn send(&mut self, message: &JobEvents) -> Result<(), Fault> {
        let session = self.link.session()?;
        if session.is_blocked() {
            return Err(Fault::Unavailable("the broker takes no messages".into()));
        }
        let channel = match self.channel.take().filter(|channel| channel.status().connected()) {
            Some(channel) => channel,
            None => {
                let channel = session.channel().await?;
                session.answered(declare_exchange(channel.clone(), self.exchange.clone())).await?;
                channel
            }
        };
        let body = serde_json::to_vec(message).map_err(|error| Fault::Unavailable(error.to_string()))?;
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(
            self.exchange.clone(),
            ShortString::default(),
            options,
            &body,
            BasicProperties::default(),
        );
        session.answered(publish).await?;
        meters::sent("event", 1);
        self.channel = Some(channel);
        Ok(())
    }
}

/// What was read and not yet acked.
#[derive(Default)]
struct Unacked {
    number: u16,
    last: u64,
}

/// Hears events.
pub(super) struct RabbitEvents {
    messages: lapin::Consumer,
    channel: Channel,
    unacked: Unacked,
    heard: VecDeque<Heard>,
    /// The last number of each sender.
    senders: HashMap<u64, u64>,
    _session: Arc<Session>,
}

impl RabbitEvents {
    pub(super) async fn listen(session: Arc<Session>, exchange: ShortString) -> Result<Self, Fault> {
        let channel = session.channel().await?;
        let messages = session.answered(subscribe(channel.clone(), exchange)).await?;
        meters::sent("consume", 1);
        Ok(Self {
            messages,
            channel,
            unacked: Unacked::default(),
            heard: VecDeque::new(),
            senders: HashMap::new(),
            _session: session,
        })
    }

    fn read(&mut self, message: &[u8]) {
        match decode::<JobEvents>(message, JOB_EVENTS_VERSION) {
            Ok(JobEvents { from, seq, events, .. }) => {
                if self.has_gap(from, seq) {
                    self.heard.push_back(Heard::Missed);
                }
                self.heard.extend(events.into_iter().map(Heard::Event));
            }
            // Whatever it said, it is missed.
            Err(error) => {
                tracing::debug!(%error, "cannot read events");
                meters::malformed();
                self.heard.push_back(Heard::Missed);
            }
        }
    }

    fn has_gap(&mut self, from: u64, seq: u64) -> bool {
        let crowded = self.senders.len() >= MOST_SENDERS && !self.senders.contains_key(&from);
        if crowded {
            self.senders.clear();
        }
        let last = self.senders.insert(from, seq);
        crowded || last.is_some_and(|last| seq != last + 1)
    }

    /// The next message, when it is there. Whoever must wait for it has acked everything before: the broker closes the
    /// channel of a listener that keeps a message for half an hour.
    async fn receive(&mut self) -> lapin::Result<Option<Delivery>> {
        let ready = self.messages.next().now_or_never();
        match ready {
            Some(message) => message,
            None => {
                self.ack().await?;
                self.messages.next().await
            }
        }
        .transpose()
    }

    /// Acks what was read.
    async fn ack(&mut self) -> lapin::Result<()> {
        if self.unacked.number > 0 {
            meters::sent("ack", 1);
            self.channel.basic_ack(self.unacked.last, BasicAckOptions { multiple: true }).await?;
            self.unacked.number = 0;
        }
        Ok(())
    }
}

#[async_trait]
impl Events for RabbitEvents {
    async fn next(&mut self) -> Result<Heard, BrokerError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let lost = |error| BrokerError::Unavailable(reason(&error));
            let Some(message) = self.receive().await.map_err(lost)? else {
                return Err(BrokerError::Unavailable("the broker ended the listener".into()));
            };
            meters::received("event", 1);
            self.read(&message.data);
            self.unacked = Unacked { number: self.unacked.number + 1, last: message.delivery_tag };
            if self.unacked.number >= PREFETCH / 2 {
                self.ack().await.map_err(lost)?;
            }
        }
    }
}

async fn subscribe(channel: Channel, exchange: ShortString) -> lapin::Result<lapin::Consumer> {
    declare_exchange(channel.clone(), exchange.clone()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MOST_KEPT));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let queue = channel.queue_declare(ShortString::default(), options, arguments).await?;
    let name = queue.name().clone();
    let bind = QueueBindOptions::default();
    channel.queue_bind(name.clone(), exchange, ShortString::default(), bind, FieldTable::default()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
    channel.basic_consume(name, ShortString::default(), options, FieldTable::default()).await
}
