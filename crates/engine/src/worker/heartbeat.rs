//! Heartbeat: renews every lease in one write, hears which jobs should stop, and says that the worker lives.
//! A worker that could not renew stops its handlers before its leases end.

use std::time::Duration;

use gristmill_common::{WorkerRecord, http::LogLine, job::Change};
use gristmill_storage::{Kind, Renewal};

use super::{Worker, held::Stop};
use crate::board::to_json;

/// How often progress and log lines are stored, and leases are looked at.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// The job types are announced with every so many heartbeats.
const ANNOUNCE_EVERY: u32 = 20;

impl Worker {
    /// Renews the leases until the last job is let go.
    pub(super) async fn keep_leases(self) {
        let mut tick = tokio::time::interval(self.0.config.heartbeat);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut announced_for = 0;
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.renew().await;
            self.say_alive().await;
            announced_for = match announced_for {
                // What was not announced is announced with the next heartbeat.
                0 if self.announce().await => ANNOUNCE_EVERY,
                0 => 0,
                beats => beats - 1,
            };
        }
    }

    async fn renew(&self) {
        let held = self.0.held.holds();
        if held.is_empty() {
            return;
        }
        let until = self.0.engine.now() + self.0.config.lease;
        match self.0.engine.store().renew(&held, until).await {
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
                        Renewal::Lost => self.0.held.stop(hold, Stop::LeaseLost),
                    }
                }
            }
            Err(error) => self.0.not_renewed.met(&error),
        }
    }

    /// Stores what handlers said, a few times a second, and stops those whose lease is about to end.
    pub(super) async fn flush_reports(self) {
        let mut tick = tokio::time::interval(FLUSH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => return,
                _ = tick.tick() => {}
            }
            for hold in self.0.held.ending_before(self.0.engine.now() + 2 * FLUSH_EVERY) {
                tracing::warn!(job.id = %hold.0.id, "the lease could not be renewed in time: the handler is stopped");
                self.0.held.stop(&hold, Stop::LeaseLost);
            }
            self.flush().await;
        }
    }

    async fn flush(&self) {
        let mut changes: Vec<Change> = Vec::new();
        let mut lines = Vec::new();
        for (job, reports) in self.0.held.reporting() {
            let report = reports.take();
            changes.extend(report.progress.and_then(|progress| job.report(progress).ok()));
            lines.extend(
                report
                    .lines
                    .into_iter()
                    .map(|(at, message)| (job.key.clone(), LogLine { at, attempt: job.attempt, message })),
            );
        }
        let store = self.0.engine.store();
        let changed = if changes.is_empty() { Ok(Vec::new()) } else { store.apply(changes).await };
        let logged = if lines.is_empty() { Ok(()) } else { store.append_logs(lines).await };
        if let Err(error) = changed.map(|_| ()).and(logged) {
            tracing::warn!(%error, "progress or log lines were not stored");
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
        declared.filter(|name| self.0.config.queues.is_empty() || self.0.config.queues.contains(name)).collect()
    }

    pub(super) async fn say_goodbye(&self) {
        if let Err(error) = self.0.engine.store().drop_record(Kind::Worker, &self.0.id.to_string()).await {
            tracing::debug!(%error, "the worker's record stays until it is swept");
        }
    }
}
