#![doc = include_str!("../README.md")]

use gristmill_engine::{Engine, NotWorking, Worker};
use gristmill_runtime::{process::worker_config, settings::Settings};

/// Makes a worker, to be run. With a concurrency of 0 there is none.
#[must_use]
pub fn prepare(engine: Engine, settings: &Settings) -> Option<Worker> {
    (settings.worker.concurrency > 0).then(|| Worker::new(engine, worker_config(settings)))
}

/// Whether it takes what it should take: for readiness.
///
/// # Errors
/// The broker serves one of its queues to nobody here, or no thread is left for work of class `Cpu`.
pub fn check(worker: &Option<Worker>) -> Result<(), NotWorking> {
    worker.as_ref().map_or(Ok(()), Worker::check)
}

/// Works until the engine's shutdown, then drains.
pub async fn run(worker: Option<Worker>) {
    if let Some(worker) = worker {
        worker.run().await;
    }
}
