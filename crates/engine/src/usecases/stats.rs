//! Statistics: counts, throughput, waiting and running times.

use std::time::Duration;

use gristmill_common::{
    JobId, State, Tenant, Timestamp,
    http::{Counts, Quantiles},
    job::Job,
};
use gristmill_storage::{DueScan, Position, StoreError};

use crate::{Engine, EngineError};

/// What ended in this time is measured.
const LATELY: Duration = Duration::from_secs(10);
/// At most so many jobs of each terminal state are looked at.
const SAMPLES: usize = 1_000;

/// How it goes.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Jobs in each state.
    pub counts: Counts,
    /// Jobs that ended lately, per second.
    pub finished_per_second: f64,
    /// From accepted, or due, to started, over jobs that succeeded lately. Milliseconds.
    pub waiting_ms: Option<Quantiles>,
    /// From started to finished, over jobs that succeeded lately. Milliseconds.
    pub running_ms: Option<Quantiles>,
}

impl Engine {
    /// How it goes for a tenant.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn stats(&self, tenant: &Tenant) -> Result<Stats, EngineError> {
        let mut counts = Counts::default();
        for count in self.store().counts(Some(tenant)).await? {
            *counts.of_mut(count.state) += count.count;
        }
        let mut finished_per_second = 0.0;
        let mut succeeded = Vec::new();
        for state in [State::Succeeded, State::Failed, State::Cancelled] {
            let since = self.kept_since_lately(state);
            let ended = self.store().count_from(state, since).await?;
            let sample = self.sample(state, since).await?;
            let seen = sample.len();
            let own: Vec<Job> = sample.into_iter().filter(|job| job.key.tenant == *tenant).collect();
            if seen > 0 {
                let share = own.len() as f64 / seen as f64;
                finished_per_second += ended as f64 * share / LATELY.as_secs_f64();
            }
            if state == State::Succeeded {
                succeeded = own;
            }
        }
        let waiting =
            succeeded.iter().filter_map(|job| Some(millis(job.started_at?, job.run_at.unwrap_or(job.created_at))));
        let running = succeeded.iter().filter_map(|job| Some(millis(job.finished_at?, job.started_at?)));
        Ok(Stats {
            counts,
            finished_per_second,
            waiting_ms: quantiles(waiting.collect()),
            running_ms: quantiles(running.collect()),
        })
    }

    /// The clock of the first job that reached this state lately: an ended job's clock says when it may be purged,
    /// so the duties' index has them in the order in which they ended.
    fn kept_since_lately(&self, state: State) -> Timestamp {
        let limits = self.limits();
        self.now() + limits.kept(state) - LATELY
    }

    async fn sample(&self, state: State, since: Timestamp) -> Result<Vec<Job>, StoreError> {
        let after = Some(Position { at: since, id: JobId::from_bytes([0; 16]) });
        self.store().due(&DueScan { state, lane: None, until: Timestamp::MAX, after, limit: SAMPLES }).await
    }
}

fn millis(later: Timestamp, earlier: Timestamp) -> f64 {
    later.since(earlier).as_secs_f64() * 1_000.0
}

fn quantiles(mut values: Vec<f64>) -> Option<Quantiles> {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    Some(Quantiles { p50: at(0.50)?, p95: at(0.95)?, p99: at(0.99)?, samples: values.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        assert_eq!(quantiles(Vec::new()), None);
        let hundred = quantiles((1..=100).rev().map(f64::from).collect()).expect("values");
        assert_eq!((hundred.p50, hundred.p95, hundred.p99, hundred.samples), (50.0, 95.0, 99.0, 100));
        assert_eq!(quantiles(vec![7.0]).expect("a value").p99, 7.0);
    }
}
