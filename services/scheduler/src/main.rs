//! `gristmill-scheduler`: a scheduler of its own, beside others on the same store and broker.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use gristmill_runtime::{
    health,
    process::{Process, run_program},
    settings::Program,
};

/// Sees to jobs that are due, lost, expired or old.
#[derive(Parser)]
#[command(name = "gristmill-scheduler", version)]
struct Options {
    /// A settings file in TOML; the environment (GRISTMILL_...) wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    run_program(Program::Scheduler, Options::parse().config, async |settings, shutdown| {
        let registry = gristmill_handlers::built_in()?;
        let process = Process::start(Program::Scheduler, &settings, registry, &shutdown).await?;
        let health = health::bind(settings.http.listen, process.readiness, process.metrics)?;
        let scheduler = gristmill_scheduler::prepare(process.engine, process.ownership, &settings).await?;
        Ok(health.run_beside(scheduler.run(), shutdown).await?)
    })
}
