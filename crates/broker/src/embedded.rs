//! The broker inside one process: three bands per queue in memory, and a broadcast for events. What it holds is
//! gone when the process is; the store has the jobs, and the scheduler rings for them again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use gristmill_common::{
    BandKey, QueueName,
    job::Priority,
    message::{Dispatch, JobEvent},
};
use tokio::sync::{Notify, broadcast};

use crate::{Broker, BrokerError, Consumer, Delivery, Events, Heard, MOST_READY, Published, locked};

/// How many events a slow listener may lag behind before it misses some.
const EVENTS_KEPT: usize = 4_096;

/// Queues and events in memory.
pub(crate) struct EmbeddedBroker {
    queues: RwLock<HashMap<QueueName, [Arc<Band>; 3]>>,
    events: broadcast::Sender<JobEvent>,
}

impl Default for EmbeddedBroker {
    fn default() -> Self {
        Self { queues: RwLock::default(), events: broadcast::Sender::new(EVENTS_KEPT) }
    }
}

/// One band: its consumers share what waits.
#[derive(Default)]
struct Band {
    ready: Mutex<VecDeque<Dispatch>>,
    arrived: Notify,
    next_tag: AtomicU64,
}

impl Band {
    fn ready(&self) -> MutexGuard<'_, VecDeque<Dispatch>> {
        locked(&self.ready)
    }
}

impl EmbeddedBroker {
    fn band(&self, queue: &QueueName, priority: Priority) -> Result<Arc<Band>, BrokerError> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        let bands = queues.get(queue).ok_or_else(|| BrokerError::Undeclared(queue.clone()))?;
        Ok(bands[priority.band()].clone())
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn declare(&self, queue: &QueueName) -> Result<(), BrokerError> {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        queues.entry(queue.clone()).or_default();
        Ok(())
    }

    async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> Result<Vec<Published>, BrokerError> {
        let bands = Priority::ALL.map(|priority| self.band(queue, priority));
        let [high, normal, low] = bands;
        let bands = [high?, normal?, low?];
        let mut ready = bands.each_ref().map(|band| band.ready());
        let mut arrived = [0; 3];
        let outcomes = dispatches
            .into_iter()
            .map(|dispatch| {
                let band = dispatch.priority.band();
                if ready[band].len() >= MOST_READY {
                    return Published::Refused;
                }
                ready[band].push_back(dispatch);
                arrived[band] += 1;
                Published::Confirmed
            })
            .collect();
        drop(ready);
        for (band, arrived) in bands.iter().zip(arrived) {
            // A consumer that takes all and leaves some wakes the next.
            if arrived > 0 {
                band.arrived.notify_one();
            }
        }
        Ok(outcomes)
    }

    async fn consume(&self, band: &BandKey, prefetch: usize) -> Result<Box<dyn Consumer>, BrokerError> {
        let band = self.band(&band.queue, band.priority)?;
        Ok(Box::new(EmbeddedConsumer { band, prefetch, unacked: Mutex::default(), acked: Notify::new() }))
    }

    async fn depth(&self, band: &BandKey) -> Result<usize, BrokerError> {
        Ok(self.band(&band.queue, band.priority)?.ready().len())
    }

    async fn purge(&self, band: &BandKey) -> Result<(), BrokerError> {
        self.band(&band.queue, band.priority)?.ready().clear();
        Ok(())
    }

    fn announce(&self, event: JobEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    async fn listen(&self) -> Result<Box<dyn Events>, BrokerError> {
        Ok(Box::new(EmbeddedEvents(self.events.subscribe())))
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// Takes from one band.
struct EmbeddedConsumer {
    band: Arc<Band>,
    prefetch: usize,
    /// In the order of delivery.
    unacked: Mutex<BTreeMap<u64, Dispatch>>,
    acked: Notify,
}

impl EmbeddedConsumer {
    /// Takes what is there, within the prefetch. `None` when there is nothing to take or no room for it.
    fn take(&self, most: usize) -> Option<Vec<Delivery>> {
        let mut unacked = locked(&self.unacked);
        let mut ready = self.band.ready();
        let number = most.max(1).min(self.prefetch.saturating_sub(unacked.len())).min(ready.len());
        if number == 0 {
            return None;
        }
        let first = self.band.next_tag.fetch_add(number as u64, Ordering::Relaxed);
        let deliveries: Vec<Delivery> =
            ready.drain(..number).zip(first..).map(|(dispatch, tag)| Delivery { dispatch, tag }).collect();
        let more = !ready.is_empty();
        drop(ready);
        unacked.extend(deliveries.iter().map(|delivery| (delivery.tag, delivery.dispatch.clone())));
        if more {
            self.band.arrived.notify_one();
        }
        Some(deliveries)
    }

    fn has_room(&self) -> bool {
        locked(&self.unacked).len() < self.prefetch
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn recv(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError> {
        loop {
            let mut acked = std::pin::pin!(self.acked.notified());
            acked.as_mut().enable();
            if !self.has_room() {
                acked.await;
                continue;
            }
            if let Some(deliveries) = self.take(most) {
                return Ok(deliveries);
            }
            self.band.arrived.notified().await;
        }
    }

    fn ack(&self, tags: &[u64]) {
        let mut unacked = locked(&self.unacked);
        for tag in tags {
            unacked.remove(tag);
        }
        drop(unacked);
        self.acked.notify_one();
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        let unacked = std::mem::take(&mut *locked(&self.unacked));
        let mut ready = self.band.ready();
        for dispatch in unacked.into_values().rev() {
            ready.push_front(dispatch);
        }
        let more = !ready.is_empty();
        drop(ready);
        // Also hands on a wake-up that this consumer may have taken without taking the message.
        if more {
            self.band.arrived.notify_one();
        }
    }
}

struct EmbeddedEvents(broadcast::Receiver<JobEvent>);

#[async_trait]
impl Events for EmbeddedEvents {
    async fn next(&mut self) -> Result<Heard, BrokerError> {
        match self.0.recv().await {
            Ok(event) => Ok(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(Heard::Missed),
            Err(broadcast::error::RecvError::Closed) => Err(BrokerError::Unavailable("it was closed".into())),
        }
    }
}
