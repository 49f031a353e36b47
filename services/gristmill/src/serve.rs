//! `gristmill serve`: settings, log and signals; then everything in one process.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use gristmill_handlers::Registry;
use gristmill_runtime::{
    settings::{Program, Sources},
    shutdown, telemetry,
};

use crate::embedded;

const EXAMPLES: &str = "\
Examples:
  gristmill serve
  gristmill serve --listen 0.0.0.0:8080 --data /var/lib/gristmill
  GRISTMILL_WORKER__CONCURRENCY=8 gristmill serve --config gristmill.toml

It prints `gristmill is ready on http://ADDRESS` on stdout when it accepts requests, and logs to stderr. SIGTERM
or Ctrl-C lets running jobs finish for a while (worker.drain_ms), gives back the rest and exits with 0; a second
signal stops at once. Settings come from the defaults, the file, the environment (GRISTMILL_ and the path joined
by two underscores) and these options, the last one winning.";

/// Runs a server: the API, a worker and the scheduler in one process.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeOptions {
    /// Where to listen: an IP address and a port; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The folder to keep jobs in [default: ./data]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// A settings file in TOML
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl ServeOptions {
    /// The defaults, the file and the options; the environment is yet to be added.
    fn sources(self) -> anyhow::Result<Sources> {
        let store = match self.data {
            Some(folder) => Some(format!("sqlite://{}", folder.to_str().context("--data must be UTF-8")?)),
            None => None,
        };
        Ok(Sources::new(Program::Embedded)
            .file(self.config)
            .option("http.listen", self.listen.map(|listen| listen.to_string()))
            .option("store.url", store))
    }
}

/// Serves with these handlers until a signal.
///
/// # Errors
/// Settings that cannot be used, an address or a data folder that cannot be taken.
pub async fn run(options: ServeOptions, handlers: Registry) -> anyhow::Result<()> {
    let settings = options.sources()?.process_environment().load()?;
    telemetry::init(&settings.log)?;
    let shutdown = shutdown::on_signal().context("cannot listen to signals")?;
    embedded::run_all(settings, handlers, shutdown).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_win_over_the_environment() {
        let options = ServeOptions {
            listen: Some(([0, 0, 0, 0], 9000).into()),
            data: Some("/var/lib/gristmill".into()),
            config: None,
        };
        let environment = [("GRISTMILL_HTTP__LISTEN", "127.0.0.1:1"), ("GRISTMILL_STORE__URL", "sqlite://elsewhere")];
        let settings = options.sources().expect("UTF-8").environment(environment).load().expect("valid settings");
        assert_eq!(settings.http.listen.to_string(), "0.0.0.0:9000");
        assert_eq!(settings.store.url.expose(), "sqlite:///var/lib/gristmill");
        assert!(settings.handlers.test_types);
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let settings = ServeOptions::default().sources().expect("UTF-8").load().expect("valid settings");
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.store.url.expose(), "sqlite://./data");
    }
}
