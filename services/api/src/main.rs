//! `gristmill-api`: the HTTP service of its own, beside others on the same store and broker.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use gristmill_api::ApiConfig;
use gristmill_runtime::{
    process::{Process, run_program},
    settings::Program,
};

/// Takes jobs over HTTP, and tells what became of them.
#[derive(Parser)]
#[command(name = "gristmill-api", version)]
struct Options {
    /// A settings file in TOML; the environment (GRISTMILL_...) wins over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    run_program(Program::Api, Options::parse().config, async |settings, shutdown| {
        let registry = gristmill_handlers::built_in()?;
        let process = Process::start(Program::Api, &settings, registry, &shutdown).await?;
        let config = ApiConfig::from_settings(&settings);
        let server = gristmill_api::bind(config, process.engine, process.readiness, process.metrics)?;
        let address = server.address();
        tracing::info!(http.address = %address, "the API is served on http://{address}");
        Ok(server.run(shutdown).await?)
    })
}
