//! The settings of a process: one typed tree, the same for every program.

mod check;
mod error;
mod sources;
mod url;

use std::net::SocketAddr;

use gristmill_common::QueueName;
use gristmill_engine::{Subscription, Weights};
use serde::Deserialize;

pub use error::{Origin, Problem, SettingsError};
pub use sources::{DEFAULTS, Program, Sources};
pub use url::{InvalidUrl, ServerUrl};

/// Everything that can be set. `config/default.toml` describes each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The listener and its limits.
    pub http: Http,
    /// Where jobs are kept.
    pub store: Store,
    /// What carries dispatches.
    pub broker: Broker,
    /// Who may call.
    pub auth: Auth,
    /// Which job types are offered.
    pub handlers: Handlers,
    /// Which queues there are.
    pub queues: Queues,
    /// How jobs are run.
    pub worker: Worker,
    /// How the duties are done.
    pub scheduler: Scheduler,
    /// How long ended jobs are kept.
    pub retention: Retention,
    /// What is logged, and how.
    pub log: Log,
}

/// The listener and its limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where the process listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest JSON body, in bytes.
    pub max_json_bytes: usize,
    /// The largest body of a batch, in bytes.
    pub max_batch_bytes: usize,
    /// The largest streamed text, in bytes.
    pub max_text_bytes: u64,
    /// How long a client may take to send the head of a request, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a client may be silent between two pieces of a body, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long an idle connection stays open, in milliseconds.
    pub keep_alive_ms: u64,
    /// The longest `Prefer: wait=N`, in seconds.
    pub max_wait_seconds: u64,
    /// Threads that serve HTTP; 0 takes one for each core.
    pub threads: usize,
    /// How many requests that change something are worked on at once.
    pub max_in_flight: usize,
    /// How much room the bodies of requests have in memory, in bytes.
    pub max_body_memory: u64,
}

/// Where jobs are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Which backend, and where.
    pub url: ServerUrl,
}

/// What carries dispatches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Which backend, and where.
    pub url: ServerUrl,
}

/// Who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// How callers are known.
    pub mode: AuthMode,
}

/// How callers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AuthMode {
    /// Not at all: everybody may call.
    Open,
}

/// Which job types are offered.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handlers {
    /// Whether `sleep` and `fail` are among them.
    pub test_types: bool,
    /// Whether `crash` is among them, which ends its process.
    pub crash_type: bool,
}

/// Which queues there are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queues {
    /// Declared at start, beside `default`, which always is.
    pub declared: Vec<QueueName>,
}

/// How jobs are run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    /// How many at once; 0 runs no worker.
    pub concurrency: usize,
    /// Threads for handlers that compute; 0 takes one for each core.
    pub cpu_threads: usize,
    /// The queues to take from, and how many jobs of each at once; none means all that are declared.
    pub queues: Vec<Subscription>,
    /// How often each band is served.
    pub weights: Weights,
    /// How long a job stays with a silent worker, in milliseconds.
    pub lease_ms: u64,
    /// How often a worker says that it is there, in milliseconds.
    pub heartbeat_ms: u64,
    /// How long running jobs may go on after SIGTERM, in milliseconds.
    pub drain_ms: u64,
}

/// How the duties are done.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheduler {
    /// How often they look for work, in milliseconds.
    pub tick_ms: u64,
    /// How long the leader leads without renewing, in milliseconds.
    pub leader_lease_ms: u64,
    /// How often a job claimed alone may lose its worker before it fails.
    pub max_rescues: u32,
}

/// How long ended jobs are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Succeeded jobs, in days.
    pub days: u32,
    /// Failed jobs, in days.
    pub failed_days: u32,
    /// Cancelled jobs, in days; 0 means as long as succeeded ones.
    pub cancelled_days: u32,
}

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level, or directives in the form of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl TryFrom<String> for AuthMode {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "open" => Ok(Self::Open),
            _ => Err("must be `open`"),
        }
    }
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `auto`, `text` or `json`"),
        }
    }
}
