//! Drain: jobs that run may finish for a while; what does not is given back, and its attempt is not charged.

use std::time::Duration;

use super::{Worker, held::Stop, run::Outcome};

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
        let left = self.0.held.held_jobs();
        tracing::warn!(jobs = left.len(), "these did not stop in time; they are given back");
        let each = left.iter().map(|job| async move {
            self.settle(job, Outcome::GivenBack).await;
            self.give_back_slot_of(job);
        });
        futures::future::join_all(each).await;
    }
}
