//! Gauges: what waits and what runs, queue by queue, told by the leader alone.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gristmill_common::QueueName;

use super::Scheduler;
use crate::usecases::queues::QueueStatus;

/// How often queues are counted.
const EVERY: Duration = Duration::from_secs(5);

impl Scheduler {
    /// Tells of queues while this scheduler leads. What it does not tell of any more is told to be empty: somebody else
    /// tells of it, or nobody.
    pub(super) async fn gauge_queues(&self) {
        let (mut told, mut counted): (BTreeSet<QueueName>, Option<Instant>) = (BTreeSet::new(), None);
        while !self.engine.sleeps_through(self.config.tick).await {
            if !self.lead.is_leading() {
                std::mem::take(&mut told).iter().for_each(|queue| gauge(queue, 0, 0, Duration::ZERO));
                counted = None;
            } else if counted.is_none_or(|at| at.elapsed() >= EVERY) {
                counted = Some(Instant::now());
                if let Some(queues) = self.not_gauged.after(self.engine.queues().await) {
                    let gone =
                        std::mem::replace(&mut told, queues.iter().map(|queue| queue.record.name.clone()).collect());
                    gone.difference(&told).for_each(|queue| gauge(queue, 0, 0, Duration::ZERO));
                    queues.iter().for_each(|queue| self.gauge(queue));
                }
            }
        }
    }

    fn gauge(&self, status: &QueueStatus) {
        let oldest = status.oldest_waiting_since.map_or(Duration::ZERO, |since| self.engine.now().since(since));
        gauge(&status.record.name, status.depth, status.running, oldest);
    }
}

fn gauge(queue: &QueueName, depth: u64, running: u64, oldest: Duration) {
    let name = queue.to_string();
    metrics::gauge!("gristmill_queue_depth", "queue" => name.clone()).set(depth as f64);
    metrics::gauge!("gristmill_queue_running", "queue" => name.clone()).set(running as f64);
    metrics::gauge!("gristmill_queue_oldest_seconds", "queue" => name).set(oldest.as_secs_f64());
}
