//! Taking dispatches from a band: a channel, and a task that settles what comes through it.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::join_all};
use gristmill_common::message::{DISPATCH_VERSION, Dispatch, MessageError, decode};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use tokio::sync::mpsc;

use super::{
    dial::Session,
    ledger::{Ack, Ledger},
    meters,
    reason::{Fault, PATIENCE, reason},
};
use crate::{BrokerError, Consumer, Delivery};

/// How long a message of a newer build is held before it goes back to the queue, for a newer worker.
const HOLD: Duration = Duration::from_secs(5);

/// Takes from one band. The channel is closed when it is dropped, after the acks that were asked for.
pub(super) struct RabbitConsumer {
    /// None once it was dropped.
    deliveries: Option<lapin::Consumer>,
    settlements: mpsc::UnboundedSender<Settlement>,
    lost: Option<BrokerError>,
}

enum Settlement {
    Ack(Vec<u64>),
    HandBack(u64),
    Close(lapin::Consumer),
}

impl RabbitConsumer {
    pub(super) async fn start(session: Arc<Session>, name: ShortString, prefetch: usize) -> Result<Self, Fault> {
        let channel = session.channel().await?;
        let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
        session.answered(channel.basic_qos(prefetch, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let deliveries = session.answered(consume).await?;
        meters::sent("consume", 1);
        let (settlements, asked) = mpsc::unbounded_channel();
        tokio::spawn(Settler { channel, ledger: Ledger::new(), held: VecDeque::new(), _session: session }.run(asked));
        Ok(Self { deliveries: Some(deliveries), settlements, lost: None })
    }

    /// Adds what came, or remembers that nothing more will.
    fn take(&mut self, came: Option<lapin::Result<lapin::message::Delivery>>, taken: &mut Vec<Delivery>) {
        let message = match came {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                self.lost = Some(BrokerError::Unavailable(reason(&error)));
                return;
            }
            None => {
                self.lost = Some(BrokerError::Unavailable("the broker ended the consumer".into()));
                return;
            }
        };
        let tag = message.delivery_tag;
        match decode::<Dispatch>(&message.data, DISPATCH_VERSION) {
            Ok(dispatch) => taken.push(Delivery { dispatch, tag }),
            Err(error @ MessageError::FromTheFuture { .. }) => {
                tracing::warn!(%error, "left a dispatch for a newer worker");
                self.ask(Settlement::HandBack(tag));
            }
            // The store has the job, if there is one.
            Err(error @ MessageError::Malformed(_)) => {
                tracing::error!(%error, queue = %message.routing_key, "dropped a message that is no dispatch");
                meters::malformed();
                self.ask(Settlement::Ack(vec![tag]));
            }
        }
    }

    fn ask(&self, settlement: Settlement) {
        // The settler ends before this only when the runtime does.
        let _ = self.settlements.send(settlement);
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn recv(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError> {
        let mut taken = Vec::new();
        loop {
            if let Some(error) = &self.lost {
                return Err(error.clone());
            }
            let Some(deliveries) = &mut self.deliveries else {
                return Err(BrokerError::Unavailable("it was closed".into()));
            };
            // The only place to wait, with nothing in hand.
            let mut came = Some(deliveries.next().await);
            while let Some(next) = came {
                self.take(next, &mut taken);
                let wants_more = taken.len() < most && self.lost.is_none();
                let deliveries = self.deliveries.as_mut().filter(|_| wants_more);
                came = deliveries.and_then(|deliveries| deliveries.next().now_or_never());
            }
            if !taken.is_empty() {
                meters::received("deliver", taken.len());
                return Ok(taken);
            }
        }
    }

    fn ack(&self, tags: &[u64]) {
        self.ask(Settlement::Ack(tags.to_vec()));
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        if let Some(deliveries) = self.deliveries.take() {
            self.ask(Settlement::Close(deliveries));
        }
    }
}

/// Settles the deliveries of one channel, and closes it in the end.
struct Settler {
    channel: Channel,
    ledger: Ledger,
    held: VecDeque<(Instant, u64)>,
    /// The connection outlives the channel.
    _session: Arc<Session>,
}

impl Settler {
    async fn run(mut self, mut asked: mpsc::UnboundedReceiver<Settlement>) {
        let mut settlements = Vec::new();
        loop {
            let due = self.held.front().map(|(since, _)| HOLD.saturating_sub(since.elapsed()));
            tokio::select! {
                number = asked.recv_many(&mut settlements, 1_024) => if number == 0 { return },
                () = tokio::time::sleep(due.unwrap_or(HOLD)), if due.is_some() => {}
            }
            let (mut tags, mut closing) = (Vec::new(), None);
            for settlement in settlements.drain(..) {
                match settlement {
                    Settlement::Ack(more) => tags.extend(more),
                    Settlement::HandBack(tag) => self.held.push_back((Instant::now(), tag)),
                    Settlement::Close(deliveries) => closing = Some(deliveries),
                }
            }
            self.ack(&tags).await;
            self.hand_back().await;
            if let Some(deliveries) = closing {
                // What is left unacked goes back to the queue. Then nothing is left to cancel.
                let _ = tokio::time::timeout(PATIENCE, self.channel.close(200, "".into())).await;
                drop(deliveries);
                return;
            }
        }
    }

    /// Acks that fail do no harm: the channel is gone, and the deliveries come again.
    async fn ack(&mut self, tags: &[u64]) {
        let acks = self.ledger.acks(tags);
        meters::sent("ack", acks.len());
        join_all(acks.into_iter().map(|ack| {
            let (tag, multiple) = match ack {
                Ack::Through(tag) => (tag, true),
                Ack::One(tag) => (tag, false),
            };
            self.channel.basic_ack(tag, BasicAckOptions { multiple })
        }))
        .await;
    }

    async fn hand_back(&mut self) {
        while let Some((_, tag)) = self.held.pop_front_if(|(since, _)| since.elapsed() >= HOLD) {
            self.ledger.settle(tag);
            meters::sent("nack", 1);
            let _ = self.channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }).await;
        }
    }
}
