//! Intake: a consumer for each band of each queue that the worker takes from, started and stopped as queues are
//! declared, paused and resumed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_broker::{BrokerError, Consumer};
use gristmill_common::{BandKey, QueueName, job::Priority};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Worker, inbox::InHand};
use crate::trouble::Trouble;

/// How often the declared queues are looked at, and how full the worker is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A worker that was full for so long, and claimed nothing, gives back what it has in hand.
const FULL_FOR: Duration = Duration::from_secs(1);
/// How long to wait before a consumer is started again.
const CONSUME_AGAIN: Duration = Duration::from_secs(1);
/// A dispatch that was not claimed for so long is given back, for another worker.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Why a consumer was let go, though the broker is there.
enum Ended {
    /// The worker is full, and nothing comes to an end: what it had in hand is for workers that have room.
    NoRoom,
    /// The worker has become so fast that it should have more in hand.
    TooLittleInHand,
}

/// How it stands with what the worker takes from the broker, band by band.
#[derive(Default)]
pub(super) struct Intakes(Mutex<BTreeMap<BandKey, Intake>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Intake {
    Starting,
    Consuming,
    /// There is no room: others are served first.
    Resting,
    Lost,
}

/// A worker does not take what it should take.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotConsuming {
    /// It was told to take from a queue that nobody has declared.
    #[error("queue `{0}`: not consuming, because it is not declared")]
    Undeclared(QueueName),
    /// The broker serves a band to nobody here.
    #[error("queue `{}`, band {}: not consuming", .0.queue, .0.priority.as_str())]
    Band(BandKey),
}

/// A consumer, and the acks asked of it by whoever has its deliveries in hand.
struct Consuming {
    consumer: Box<dyn Consumer>,
    acks: mpsc::UnboundedReceiver<u64>,
}

impl Drop for Consuming {
    /// However it ends, what was asked of it is done: else all of that would be delivered again.
    fn drop(&mut self) {
        let tags: Vec<u64> = std::iter::from_fn(|| self.acks.try_recv().ok()).collect();
        if !tags.is_empty() {
            self.consumer.ack(&tags);
        }
    }
}

impl Intakes {
    fn set(&self, band: &BandKey, intake: Intake) {
        self.bands().insert(band.clone(), intake);
    }

    fn forget(&self, band: &BandKey) {
        self.bands().remove(band);
    }

    fn bands(&self) -> MutexGuard<'_, BTreeMap<BandKey, Intake>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when the worker has been full without claiming anything.
#[derive(Default)]
struct Full {
    since: Option<Instant>,
    claimed: usize,
}

impl Full {
    /// Whether that has gone on for too long, by what is seen now.
    fn lasts(&mut self, is_full: bool, claimed: usize) -> bool {
        if !is_full || claimed != self.claimed {
            *self = Self { since: is_full.then(Instant::now), claimed };
        }
        self.since.is_some_and(|since| since.elapsed() >= FULL_FOR)
    }
}

impl Worker {
    /// Whether it takes what it should take: for readiness.
    ///
    /// # Errors
    /// The broker serves one of its queues to nobody here, or there is no such queue.
    pub(super) fn check_intake(&self) -> Result<(), NotConsuming> {
        if let Some(queue) = self.undeclared() {
            return Err(NotConsuming::Undeclared(queue));
        }
        let bands = self.0.intake.bands();
        let idle = |band: &BandKey| matches!(bands.get(band), None | Some(Intake::Starting | Intake::Lost));
        match self.wanted_bands().into_iter().find(idle) {
            Some(band) => Err(NotConsuming::Band(band)),
            None => Ok(()),
        }
    }

    /// Keeps a consumer on every band that should have one, until the shutdown.
    pub(super) async fn take_in(self) {
        let mut running: BTreeMap<BandKey, Running> = BTreeMap::new();
        let not_declared = Trouble::new("a queue that this worker is to take from does not exist");
        loop {
            if self.0.engine.0.board.check().is_ok() {
                not_declared.after(self.undeclared().map_or(Ok(()), |queue| Err(NotConsuming::Undeclared(queue))));
            }
            self.0.queue_rates.learn(&self.0.engine.0.board.queues());
            let wanted = self.wanted_bands();
            let (keep, stop): (BTreeMap<_, _>, BTreeMap<_, _>) =
                running.into_iter().partition(|(band, _)| wanted.contains(band));
            running = keep;
            stop_all(stop).await;
            for band in wanted {
                running.entry(band.clone()).or_insert_with(|| {
                    let stop = CancellationToken::new();
                    let task = tokio::spawn(self.clone().consume(band, stop.clone()));
                    Running { stop, task }
                });
            }
            self.give_back_what_waits_too_long().await;
            if self.0.engine.sleeps_through(LOOK_EVERY).await {
                return stop_all(running).await;
            }
        }
    }

    /// A queue that was chosen for this worker, and is not on the board.
    fn undeclared(&self) -> Option<QueueName> {
        let mut chosen = self.0.config.queues.iter().map(|subscription| &subscription.queue);
        chosen.find(|queue| !self.0.engine.0.board.has_queue(queue)).cloned()
    }

    /// Whether it takes from this queue, when there is one of that name.
    pub(super) fn takes_from(&self, queue: &QueueName) -> bool {
        let chosen = &self.0.config.queues;
        chosen.is_empty() || chosen.iter().any(|subscription| subscription.queue == *queue)
    }

    fn wanted_bands(&self) -> BTreeSet<BandKey> {
        self.0
            .engine
            .0
            .board
            .queues()
            .into_iter()
            .filter(|queue| !queue.paused && self.takes_from(&queue.name))
            .flat_map(|queue| Priority::ALL.map(|priority| BandKey { queue: queue.name.clone(), priority }))
            .collect()
    }

    /// Consumes one band until told to stop, starting over when the broker was lost, and resting while there is no
    /// room.
    async fn consume(self, band: BandKey, stop: CancellationToken) {
        let trouble = Trouble::new("a consumer was lost; starting another");
        self.0.intake.set(&band, Intake::Starting);
        let kept_up = async {
            loop {
                let ended = self.consume_for_a_while(&band, &trouble).await;
                self.0.inbox.forget(&band);
                match ended {
                    Ok(Ended::TooLittleInHand) => {}
                    Ok(Ended::NoRoom) => {
                        self.0.intake.set(&band, Intake::Resting);
                        self.until_there_is_room(&band.queue).await;
                    }
                    Err(error) => {
                        self.0.intake.set(&band, Intake::Lost);
                        trouble.met(&error);
                        tokio::time::sleep(CONSUME_AGAIN).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            never = kept_up => never,
        }
        self.0.inbox.forget(&band);
        self.0.intake.forget(&band);
    }

    /// Consumes until it should be done in another way, or cannot be done.
    async fn consume_for_a_while(&self, band: &BandKey, trouble: &Trouble) -> Result<Ended, BrokerError> {
        let queue = &band.queue;
        let prefetch = self.wanted_in_hand(queue);
        let consumer = self.0.engine.broker().consume(band, prefetch).await?;
        self.0.intake.set(band, Intake::Consuming);
        trouble.over();
        let (ack, acks) = mpsc::unbounded_channel();
        let mut consuming = Consuming { consumer, acks };
        let mut tags = Vec::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut full = Full::default();
        loop {
            let taken = self.0.inbox.departure();
            let room = self.in_hand_limit(queue).saturating_sub(self.0.inbox.len(band));
            let Consuming { consumer, acks } = &mut consuming;
            tokio::select! {
                _ = acks.recv_many(&mut tags, 1_000) => {
                    consumer.ack(&tags);
                    tags.clear();
                }
                deliveries = consumer.recv(room), if room > 0 => {
                    let deliveries = deliveries?.into_iter();
                    self.0.inbox.put(band, deliveries.map(|delivery| InHand::new(delivery, ack.clone())));
                }
                () = taken, if room == 0 => {}
                _ = look.tick() => {
                    if full.lasts(!self.has_room_for(queue), self.claimed_of(queue)) {
                        return Ok(Ended::NoRoom);
                    }
                    if self.wanted_in_hand(queue) >= 2 * prefetch {
                        return Ok(Ended::TooLittleInHand);
                    }
                }
            }
        }
    }

    fn has_room_for(&self, queue: &QueueName) -> bool {
        self.room() > 0 && self.room_in(queue) > 0
    }

    async fn until_there_is_room(&self, queue: &QueueName) {
        loop {
            let mut room = std::pin::pin!(self.0.room.notified());
            room.as_mut().enable();
            if self.has_room_for(queue) {
                return;
            }
            room.await;
        }
    }

    /// How much of one band to be given before it is acked: what there is room for, and what is finished while the
    /// acks are under way; no more than may start of its queue.
    fn wanted_in_hand(&self, queue: &QueueName) -> usize {
        (self.room() + 2 * self.0.pace.ahead()).clamp(1, self.most_in_hand(queue))
    }

    /// How much of one band may be in hand: as much as the worker might claim at once.
    fn in_hand_limit(&self, queue: &QueueName) -> usize {
        (self.0.config.concurrency + self.0.pace.ahead()).min(self.most_in_hand(queue))
    }

    async fn give_back_what_waits_too_long(&self) {
        self.put_off(self.0.inbox.take_older_than(PATIENCE), |job, now| job.hand_back(now)).await;
    }
}

async fn stop_all(running: BTreeMap<BandKey, Running>) {
    for Running { stop, .. } in running.values() {
        stop.cancel();
    }
    for Running { task, .. } in running.into_values() {
        let _ = task.await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use gristmill_broker::Delivery;

    use super::*;

    #[derive(Default)]
    struct Remembers(Arc<Mutex<Vec<u64>>>);

    #[async_trait]
    impl Consumer for Remembers {
        async fn recv(&mut self, _: usize) -> Result<Vec<Delivery>, BrokerError> {
            std::future::pending().await
        }

        fn ack(&self, tags: &[u64]) {
            self.0.lock().expect("no panic").extend(tags);
        }
    }

    #[test]
    fn a_consumer_that_is_let_go_does_the_acks_that_were_asked_of_it() {
        let (ack, acks) = mpsc::unbounded_channel();
        let acked = Arc::default();
        let consuming = Consuming { consumer: Box::new(Remembers(Arc::clone(&acked))), acks };
        (1..=3).for_each(|tag| ack.send(tag).expect("there is a consumer"));
        drop(consuming);
        assert_eq!(*acked.lock().expect("no panic"), [1, 2, 3]);
    }
}
