//! `gristmill-worker`: a worker of its own, beside others on the same store and broker.

use std::{path::PathBuf, process::ExitCode};

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
        let health = health::serve(settings.http.listen, process.readiness, process.metrics, shutdown);
        let ((), served) = tokio::join!(gristmill_worker::run(process.engine, &settings), health);
        Ok(served?)
    })
}
