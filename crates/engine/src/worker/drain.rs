//! Drain: jobs that run may finish for a while; what does not is given back, and its attempt is not charged.

use std::time::Duration;

use gristmill_common::job::Change;

use super::{Worker, held::Stop};

/// How long handlers have to notice that they should stop.
const NOTICE: Duration = Duration::from_secs(1);

impl Worker {
    pub(super) async fn drain(&self) {
        // What waits for a slot is given back at once: closing the slots makes each such job let go.
        self.0.slots.close();
        if self.0.held.emptied_within(self.0.config.drain).await {
            return;
        }
        for hold in self.0.held.holds() {
            self.0.held.stop(&hold, Stop::Draining);
        }
        if self.0.held.emptied_within(NOTICE).await {
            return;
        }
        // Their handlers go on until the process ends, but cannot settle any more.
        let (engine, now) = (&self.0.engine, self.0.engine.now());
        let left = self.0.held.held_jobs();
        tracing::warn!(jobs = left.len(), "these did not stop in time; they are given back");
        let changes: Vec<Change> = left.iter().filter_map(|job| job.release(now, engine.limits()).ok()).collect();
        if let Err(error) = engine.store().apply(changes).await {
            tracing::error!(%error, "they could not be given back; they will be rescued when their leases end");
        }
    }
}
