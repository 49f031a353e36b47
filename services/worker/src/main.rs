//! `gristmill-worker`: a worker of its own, beside others on the same store and broker.

use std::{future::ready, path::PathBuf, process::ExitCode};

use clap::Parser;
use gristmill_runtime::{
    health,
    process::{Process, run_program},
    settings::Program,
};

/// Takes jobs from the broker and runs them.
#[derive(Parser)]
#[command(name = "gristmill-worker", version)]
struct Options {
    /// A settings file in TOML; the environment (GRISTMILL_...) wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    run_program(Program::Worker, Options::parse().config, async |settings, shutdown| {
        let registry = gristmill_handlers::built_in()?;
        let process = Process::start(Program::Worker, &settings, registry, &shutdown).await?;
        let worker = gristmill_worker::prepare(process.engine, &settings);
        let asked = worker.clone();
        let readiness = process.readiness.with("intake", move || ready(gristmill_worker::check(&asked)));
        let health = health::bind(settings.http.listen, readiness, process.metrics)?;
        Ok(health.run_beside(gristmill_worker::run(worker), shutdown).await?)
    })
}
