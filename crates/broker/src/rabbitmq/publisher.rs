//! Publishing dispatches: all of a batch in a pipeline, and then its confirms. Many calls share one channel.

use std::{
    collections::HashSet,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use futures::{Stream, StreamExt, stream::FuturesUnordered};
use gristmill_common::{QueueName, message::Dispatch};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    dial::Session,
    link::Link,
    locked, meters,
    reason::{Fault, PATIENCE},
    topology::Topology,
};
use crate::{BrokerError, Published};

/// The most dispatches that wait for their confirms; further calls wait for room.
const MOST_IN_FLIGHT: usize = 4_096;
/// The most that one call publishes before it waits for the confirms.
const PIPELINE: usize = 1_024;
const PERSISTENT: u8 = 2;

/// Publishes to the bands.
pub(super) struct Publisher {
    link: Arc<Link>,
    topology: Arc<Topology>,
    room: Semaphore,
    channel: tokio::sync::Mutex<Option<Channel>>,
    /// Held while dispatches get their numbers: the broker confirms by number, in the order on the wire.
    order: Mutex<()>,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, topology: Arc<Topology>) -> Self {
        let room = Semaphore::new(MOST_IN_FLIGHT);
        Self { link, topology, room, channel: tokio::sync::Mutex::default(), order: Mutex::default() }
    }

    /// Whether the broker can be published to.
    ///
    /// # Errors
    /// It cannot, and why.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.link.session()?.is_blocked() {
            true => Err(Fault::Unavailable("the broker takes no messages: it is low on memory or disk".into())),
            false => Ok(()),
        }
    }

    /// Publishes dispatches to the bands of a queue.
    ///
    /// # Errors
    /// None could be published.
    pub(super) async fn publish(
        &self,
        queue: &QueueName,
        dispatches: &[Dispatch],
    ) -> Result<Vec<Published>, BrokerError> {
        let deadline = Instant::now() + PATIENCE;
        let mut outcomes = Vec::with_capacity(dispatches.len());
        for pipeline in dispatches.chunks(PIPELINE) {
            if !self.topology.is_declared(queue) {
                if outcomes.is_empty() {
                    return Err(BrokerError::Undeclared(queue.clone()));
                }
                break;
            }
            match self.publish_together(queue, pipeline, deadline).await {
                Ok(more) => outcomes.extend(more),
                Err(fault) if outcomes.is_empty() => return Err(fault.into()),
                Err(_) => break,
            }
        }
        let confirmed = outcomes.iter().filter(|outcome| **outcome == Published::Confirmed).count();
        meters::received("confirm", confirmed);
        meters::refused(dispatches.len() - confirmed);
        outcomes.resize(dispatches.len(), Published::Refused);
        Ok(outcomes)
    }

    async fn publish_together(
        &self,
        queue: &QueueName,
        dispatches: &[Dispatch],
        deadline: Instant,
    ) -> Result<Vec<Published>, Fault> {
        let session = self.link.session()?;
        let refused = vec![Published::Refused; dispatches.len()];
        // What is sent to a broker that takes nothing would pile up in memory.
        if session.is_blocked() {
            return Ok(refused);
        }
        let Ok(room) = timeout_at(deadline, self.room.acquire_many(dispatches.len() as u32)).await else {
            return Ok(refused);
        };
        let _room = room.map_err(|_| Fault::Unavailable("it was closed".into()))?;
        let Ok(channel) = timeout_at(deadline, self.channel(&session)).await else { return Ok(refused) };
        let channel = channel?;
        let began = Instant::now();
        let mut batch = Batch::new(&self.topology, queue, dispatches);
        let finished = batch.publish(&channel, &self.order, deadline).await;
        meters::sent("publish", dispatches.len());
        match finished {
            Ok(()) => meters::confirmed(began.elapsed()),
            Err(Unfinished) => {
                self.retire(&channel).await;
                session.suspected.notify_one();
            }
        }
        Ok(batch.outcomes())
    }

    /// The channel that is in use, or a new one.
    async fn channel(&self, session: &Session) -> Result<Channel, Fault> {
        let mut current = self.channel.lock().await;
        if let Some(channel) = current.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let channel = session.channel().await?;
        session.answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        *current = Some(channel.clone());
        Ok(channel)
    }

    /// A channel with messages that were never confirmed is not used again. It is closed when the last call that
    /// waits on it ends.
    async fn retire(&self, channel: &Channel) {
        let mut current = self.channel.lock().await;
        // By its number alone a channel of a newer connection could not be told from it; it would only be replaced.
        if current.as_ref() == Some(channel) {
            *current = None;
        }
    }
}

/// Some confirms did not come in time.
struct Unfinished;

/// Dispatches that are published together, and what became of them.
struct Batch<'a> {
    topology: &'a Topology,
    queue: &'a QueueName,
    messages: Vec<(ShortString, Vec<u8>)>,
    confirmed: Vec<bool>,
    gone: HashSet<ShortString>,
}

impl<'a> Batch<'a> {
    fn new(topology: &'a Topology, queue: &'a QueueName, dispatches: &[Dispatch]) -> Self {
        let messages: Vec<_> = dispatches
            .iter()
            // A dispatch has nothing in it that cannot be written as JSON.
            .map(|dispatch| (topology.name(queue, dispatch.priority), serde_json::to_vec(dispatch).unwrap_or_default()))
            .collect();
        Self { topology, queue, confirmed: vec![false; messages.len()], messages, gone: HashSet::new() }
    }

    async fn publish(&mut self, channel: &Channel, order: &Mutex<()>, deadline: Instant) -> Result<(), Unfinished> {
        let Self { messages, confirmed, gone, .. } = self;
        let publishing: FuturesUnordered<_> = messages
            .iter()
            .enumerate()
            .map(|(number, (name, message))| async move { (number, send(channel, name, message).await) })
            .collect();
        let mut publishing = pin!(publishing);
        // The first poll hands all of them to the library; what comes back from it is an answer already.
        let mut next = poll_fn(|context| {
            let _order = locked(order);
            Poll::Ready(publishing.as_mut().poll_next(context))
        })
        .await;
        loop {
            let answered = match next {
                Poll::Ready(answered) => answered,
                Poll::Pending => timeout_at(deadline, publishing.next()).await.map_err(|_| Unfinished)?,
            };
            match answered {
                None => break,
                Some((number, Ok(Confirmation::Ack(None)))) => confirmed[number] = true,
                // Another message of the same confirm may be the one returned: its band tells.
                Some((number, Ok(Confirmation::Ack(Some(returned))))) => {
                    confirmed[number] = true;
                    gone.insert(returned.routing_key.clone());
                }
                Some((_, Ok(Confirmation::Nack(_) | Confirmation::NotRequested))) => {}
                Some((_, Err(error))) => tracing::debug!(%error, "a dispatch was not confirmed"),
            }
            next = Poll::Pending;
        }
        Ok(())
    }

    fn outcomes(mut self) -> Vec<Published> {
        if !self.gone.is_empty() {
            meters::received("return", self.gone.len());
            self.topology.forget_named(&self.gone);
        }
        // A batch beside this one may have got what came back for it.
        let declared = self.topology.is_declared(self.queue);
        let confirmed = std::mem::take(&mut self.confirmed).into_iter();
        confirmed
            .map(|confirmed| if confirmed && declared { Published::Confirmed } else { Published::Refused })
            .collect()
    }
}

async fn send(channel: &Channel, name: &ShortString, message: &[u8]) -> lapin::Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    channel.basic_publish(ShortString::default(), name.clone(), options, message, properties).await?.await
}
