//! Others: what other workers can run, for jobs that this one cannot.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, TypeName, WorkerRecord};

use super::Worker;
use crate::trouble::Trouble;

/// How old the reading may be.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// The workers that live, as they were read last.
pub(super) struct Others {
    reading: Mutex<Reading>,
    trouble: Trouble,
}

#[derive(Clone, Default)]
struct Reading {
    at: Option<Instant>,
    workers: Arc<Vec<WorkerRecord>>,
}

impl Default for Others {
    fn default() -> Self {
        let trouble = Trouble::new("the other workers could not be read; the last reading stands");
        Self { reading: Mutex::default(), trouble }
    }
}

impl Worker {
    /// The other workers that live.
    pub(super) async fn others(&self) -> Arc<Vec<WorkerRecord>> {
        let others = &self.0.others;
        let Reading { at, workers } = others.reading.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if at.is_some_and(|at| at.elapsed() < READ_AGAIN) {
            return workers;
        }
        let read = others.trouble.after(self.0.engine.workers().await);
        let workers = read.map_or(workers, |mut read| {
            read.retain(|worker| worker.id != self.0.id);
            Arc::new(read)
        });
        let reading = Reading { at: Some(Instant::now()), workers: workers.clone() };
        *others.reading.lock().unwrap_or_else(PoisonError::into_inner) = reading;
        workers
    }
}

/// Whether one of these workers can run such a job of this band.
pub(super) fn can_run(workers: &[WorkerRecord], job_type: &TypeName, band: &BandKey) -> bool {
    workers.iter().any(|worker| worker.types.contains(job_type) && worker.queues.contains(&band.queue))
}
