//! Sweep: what broken-off uploads and vanished workers left behind.

use std::time::Duration;

use gristmill_common::{Timestamp, WorkerRecord};
use gristmill_storage::{Kind, StoreError};

use super::Scheduler;

/// How long a committed blob may wait for its job.
const ORPHANED: Duration = Duration::from_secs(60 * 60);
/// How many blobs are collected in one write.
const BLOBS: usize = 20;
/// When the record of a worker that is no longer seen is dropped.
const WORKER_GONE: Duration = Duration::from_secs(10 * 60);
/// How often there is a sweep.
const EVERY: Duration = Duration::from_secs(30);

impl Scheduler {
    pub(super) async fn sweep_leftovers(&self, now: Timestamp) -> Result<usize, StoreError> {
        if !self.lead.is_time_to_sweep(now, EVERY) {
            return Ok(0);
        }
        let store = self.engine.store();
        let mut swept = 0;
        while !self.engine.shutdown().is_cancelled() {
            let blobs = store.collect_blobs(now, now - ORPHANED, BLOBS).await?;
            swept += blobs;
            if blobs < BLOBS {
                break;
            }
        }
        let workers: Vec<WorkerRecord> = self.engine.read_records(Kind::Worker).await?;
        for worker in workers.iter().filter(|worker| now.since(worker.last_seen) > WORKER_GONE) {
            store.drop_record(Kind::Worker, &worker.id.to_string()).await?;
            swept += 1;
        }
        Ok(swept)
    }
}
