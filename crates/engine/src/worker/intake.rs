//! Intake: a consumer for each band of each queue that the worker takes from, started and stopped as queues are
//! declared, paused and resumed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use gristmill_broker::{BrokerError, Consumer};
use gristmill_common::{BandKey, job::Priority};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{MOST_AHEAD, Worker, inbox::InHand};

/// How often the declared queues are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before a consumer is started again.
const CONSUME_AGAIN: Duration = Duration::from_secs(1);
/// A dispatch that was not claimed for so long is given back, for another worker.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    /// Keeps a consumer on every band that should have one, until the shutdown.
    pub(super) async fn take_in(self) {
        let mut running: BTreeMap<BandKey, Running> = BTreeMap::new();
        loop {
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

    fn wanted_bands(&self) -> BTreeSet<BandKey> {
        let chosen = &self.0.config.queues;
        self.0
            .engine
            .0
            .board
            .queues()
            .into_iter()
            .filter(|queue| !queue.paused && (chosen.is_empty() || chosen.contains(&queue.name)))
            .flat_map(|queue| Priority::ALL.map(|priority| BandKey { queue: queue.name.clone(), priority }))
            .collect()
    }

    /// Consumes one band until told to stop, starting over when the broker was lost.
    async fn consume(self, band: BandKey, stop: CancellationToken) {
        loop {
            let lost = tokio::select! {
                () = stop.cancelled() => break,
                lost = self.consume_until_lost(&band) => lost,
            };
            self.0.inbox.forget(&band);
            if let Err(error) = lost {
                tracing::warn!(queue = %band.queue, band = band.priority.as_str(), %error, "consumer lost; starting another");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(CONSUME_AGAIN) => {}
            }
        }
        self.0.inbox.forget(&band);
    }

    async fn consume_until_lost(&self, band: &BandKey) -> Result<(), BrokerError> {
        let mut consumer: Box<dyn Consumer> =
            self.0.engine.broker().consume(band, self.0.config.concurrency + MOST_AHEAD).await?;
        let (ack, mut acks) = mpsc::unbounded_channel();
        let mut tags = Vec::new();
        loop {
            let taken = self.0.inbox.departure();
            let room = self.in_hand_limit().saturating_sub(self.0.inbox.len(band));
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
            }
        }
    }

    /// How much of one band may be in hand: as much as the worker might claim at once.
    fn in_hand_limit(&self) -> usize {
        self.0.config.concurrency + self.0.pace.ahead()
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
