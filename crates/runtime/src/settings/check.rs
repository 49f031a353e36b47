//! The bounds of the settings, and what must hold between them.

use std::{collections::BTreeSet, fmt::Display, ops::RangeInclusive};

use gristmill_engine::Subscription;
use tracing_subscriber::EnvFilter;

use super::Settings;

const DAY_MS: u64 = 86_400_000;
const GIB: u64 = 1 << 30;
/// A worker stops a handler whose lease has under half a second left: a shorter lease would leave it no time to work.
const SHORTEST_LEASE_MS: u64 = 2_000;

/// What is wrong: the key at fault, and a message that follows it.
pub(super) fn problems(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut found = Found::default();
    let Settings { http, worker, scheduler, retention, log, .. } = settings;

    found.within("http.max_json_bytes", http.max_json_bytes as u64, 1..=GIB);
    found.within("http.max_batch_bytes", http.max_batch_bytes as u64, 1..=GIB);
    found.within("http.max_text_bytes", http.max_text_bytes, 1..=1024 * GIB);
    found.within("http.header_timeout_ms", http.header_timeout_ms, 1..=DAY_MS);
    found.within("http.body_timeout_ms", http.body_timeout_ms, 1..=DAY_MS);
    found.within("http.keep_alive_ms", http.keep_alive_ms, 0..=DAY_MS);
    found.within("http.max_wait_seconds", http.max_wait_seconds, 0..=60);
    found.within("http.threads", http.threads, 0..=1_024);
    found.within("http.max_in_flight", http.max_in_flight, 1..=1_000_000);
    found.within("http.max_body_memory", http.max_body_memory, 1..=1024 * GIB);
    if http.max_batch_bytes < http.max_json_bytes {
        found.add("http.max_batch_bytes", "must be at least http.max_json_bytes");
    }
    if http.max_body_memory < http.max_batch_bytes as u64 {
        found.add("http.max_body_memory", "must be at least http.max_batch_bytes");
    }

    found.within("worker.concurrency", worker.concurrency, 0..=100_000);
    found.within("worker.cpu_threads", worker.cpu_threads, 0..=1_024);
    found.within("worker.heartbeat_ms", worker.heartbeat_ms, 10..=DAY_MS);
    found.within("worker.lease_ms", worker.lease_ms, SHORTEST_LEASE_MS..=DAY_MS);
    found.within("worker.drain_ms", worker.drain_ms, 0..=DAY_MS);
    let mut subscribed = BTreeSet::new();
    for Subscription { queue, .. } in &worker.queues {
        if !subscribed.insert(queue) {
            found.add("worker.queues", format!("has the queue `{queue}` twice"));
        }
    }
    if worker.lease_ms < worker.heartbeat_ms.saturating_mul(3) {
        found.add("worker.lease_ms", "must be at least 3 x worker.heartbeat_ms");
    }

    found.within("scheduler.tick_ms", scheduler.tick_ms, 10..=DAY_MS);
    found.within("scheduler.leader_lease_ms", scheduler.leader_lease_ms, 20..=DAY_MS);
    found.within("scheduler.max_rescues", scheduler.max_rescues, 1..=1_000);
    if scheduler.leader_lease_ms < scheduler.tick_ms.saturating_mul(2) {
        found.add("scheduler.leader_lease_ms", "must be at least 2 x scheduler.tick_ms");
    }

    found.within("retention.days", retention.days, 1..=36_500);
    found.within("retention.failed_days", retention.failed_days, 1..=36_500);
    found.within("retention.cancelled_days", retention.cancelled_days, 0..=36_500);

    if let Err(error) = EnvFilter::try_new(&log.filter) {
        found.add("log.filter", format!("is no filter: {error}"));
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<(&'static str, String)>);

impl Found {
    fn add(&mut self, key: &'static str, message: impl Into<String>) {
        self.0.push((key, message.into()));
    }

    fn within<N: PartialOrd + Display>(&mut self, key: &'static str, value: N, bounds: RangeInclusive<N>) {
        if !bounds.contains(&value) {
            self.add(key, format!("must be {} to {}", bounds.start(), bounds.end()));
        }
    }
}
