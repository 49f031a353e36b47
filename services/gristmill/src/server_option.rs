//! The option that the commands share which talk to a server.

use clap::Args;

/// Which server to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerOption {
    /// The server's address
    #[arg(long, value_name = "URL", env = "GRISTMILL_SERVER", default_value = "http://127.0.0.1:8080")]
    pub(crate) server: String,
}
