//! Heartbeat: renews every lease in one write, hears which jobs should stop, and says that the worker lives.
//! A worker that could not renew stops its handlers before its leases end.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use gristmill_common::WorkerRecord;
use gristmill_storage::{Kind, Renewal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Worker, held::Stop};
use crate::board::to_json;

/// How often leases are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The job types are announced with every so many heartbeats.
const ANNOUNCE_EVERY: u32 = 20;

impl Worker {
    /// Renews the leases, and says that the worker lives, until the last job is let go. Each goes its own pace: with a
    /// slow store it takes as long as a lease to announce all job types.
    pub(super) async fn keep_leases(self) {
        tokio::join!(self.keep_renewing(), self.be_seen());
    }

    async fn keep_renewing(&self) {
        let mut beats = self.beats();
        while self.next(&mut beats).await {
            self.renew().await;
        }
    }

    async fn be_seen(&self) {
        let mut beats = self.beats();
        let mut announced_for = 0;
        while self.next(&mut beats).await {
            self.say_alive().await;
            announced_for = match announced_for {
                // What was not announced is announced with the next heartbeat.
                0 if self.announce().await => ANNOUNCE_EVERY,
                0 => 0,
                beats => beats - 1,
            };
        }
    }

    fn beats(&self) -> Interval {
        let mut beats = interval(self.0.config.heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        beats
    }

    /// Waits for the next heartbeat; says whether there is one.
    async fn next(&self, beats: &mut Interval) -> bool {
        self.0.stopped.run_until_cancelled(beats.tick()).await.is_some()
    }

    async fn renew(&self) {
        let held = self.0.held.holds();
        if held.is_empty() {
            return;
        }
        let until = Instant::now() + self.0.config.lease;
        match self.0.engine.store().renew(&held, self.0.engine.now() + self.0.config.lease).await {
            Ok(renewals) => {
                self.0.not_renewed.over();
                for (hold, renewal) in held.iter().zip(renewals) {
                    match renewal {
                        Renewal::Held => self.0.held.renewed(hold, until),
                        Renewal::StopRequested => {
                            self.0.held.renewed(hold, until);
                            self.0.held.stop(hold, Stop::Requested);
                        }
                        // Or it was settled while the heartbeat was under way: then nobody minds.
                        Renewal::Lost => {
                            self.0.held.stop(hold, Stop::LeaseLost);
                        }
                    }
                }
            }
            Err(error) => self.0.not_renewed.met(&error),
        }
    }

    /// Stops the handlers whose lease is about to end. It waits for no answer of the store: one that hangs is why they
    /// end.
    pub(super) async fn watch_leases(self) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => return,
                _ = tick.tick() => {}
            }
            let lost = self.0.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(jobs = lost, "leases were lost; these jobs are somebody else's now");
            }
            // Once is enough: they are held until their handlers have stopped.
            let ending = self.0.held.ending_before(Instant::now() + 2 * LOOK_EVERY);
            let stopped = ending.iter().filter(|hold| self.0.held.stop(hold, Stop::LeaseLost)).count();
            if stopped > 0 {
                tracing::warn!(jobs = stopped, "leases could not be renewed in time: the handlers are stopped");
            }
        }
    }

    /// Announces the job types that it has, so that the API can check their payloads; says whether all are.
    async fn announce(&self) -> bool {
        let engine = &self.0.engine;
        for handler in engine.0.registry.iter() {
            let mut record = handler.record().clone();
            record.last_seen = engine.now();
            let announced =
                async { engine.store().put_record(Kind::JobType, record.name.as_str(), to_json(&record)?).await };
            if self.0.not_announced.after(announced.await).is_none() {
                return false;
            }
        }
        true
    }

    async fn say_alive(&self) {
        let engine = &self.0.engine;
        let record = WorkerRecord {
            id: self.0.id,
            types: engine.0.registry.iter().map(|handler| handler.record().name.clone()).collect(),
            queues: self.queues(),
            slots: self.0.config.concurrency as u32,
            running: (self.0.config.concurrency - self.0.slots.available_permits()) as u32,
            started_at: self.0.started_at,
            last_seen: engine.now(),
        };
        let said = async { engine.store().put_record(Kind::Worker, &self.0.id.to_string(), to_json(&record)?).await };
        self.0.not_said.after(said.await);
    }

    fn queues(&self) -> Vec<gristmill_common::QueueName> {
        let declared = self.0.engine.0.board.queues().into_iter().map(|queue| queue.name);
        declared.filter(|name| self.takes_from(name)).collect()
    }

    pub(super) async fn say_goodbye(&self) {
        if let Err(error) = self.0.engine.store().drop_record(Kind::Worker, &self.0.id.to_string()).await {
            tracing::debug!(%error, "the worker's record stays until it is swept");
        }
    }
}
