#![doc = include_str!("../README.md")]

use gristmill_engine::{Engine, Worker};
use gristmill_runtime::{process::worker_config, settings::Settings};

/// Works until the engine's shutdown, then drains. With a concurrency of 0 there is no worker.
pub async fn run(engine: Engine, settings: &Settings) {
    if settings.worker.concurrency > 0 {
        Worker::new(engine, worker_config(settings)).run().await;
    }
}
