//! The bounds that the service keeps to.

use std::{net::SocketAddr, time::Duration};

use gristmill_runtime::settings::Settings;

/// The most header bytes of a request, its first line included.
pub(crate) const MAX_HEAD_BYTES: usize = 32 * 1024;
/// The most jobs of one batch.
pub(crate) const MAX_BATCH_ITEMS: usize = 1_000;
/// How long a connection may take to end: to send the rest of a body that was refused, and to close.
pub(crate) const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the service listens, and its limits.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest JSON body, in bytes.
    pub max_json_bytes: usize,
    /// The largest body of a batch, in bytes.
    pub max_batch_bytes: usize,
    /// The largest streamed text, in bytes.
    pub max_text_bytes: u64,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may be silent between two pieces of a body.
    pub body_timeout: Duration,
    /// How long an idle connection stays open; none is kept when this is zero.
    pub keep_alive: Duration,
    /// The longest `Prefer: wait=N`.
    pub max_wait: Duration,
    /// Threads that serve HTTP; 0 takes one for each core.
    pub threads: usize,
    /// How many requests that change something are worked on at once.
    pub max_in_flight: usize,
    /// How much room the bodies of requests have in memory, in bytes; at least the largest body.
    pub max_body_memory: usize,
    /// How long requests in flight may take to end once the process is told to stop.
    pub drain: Duration,
}

impl ApiConfig {
    /// The part of the settings that concerns the service.
    #[must_use]
    pub fn from_settings(settings: &Settings) -> Self {
        let http = &settings.http;
        Self {
            listen: http.listen,
            max_json_bytes: http.max_json_bytes,
            max_batch_bytes: http.max_batch_bytes,
            max_text_bytes: http.max_text_bytes,
            header_timeout: Duration::from_millis(http.header_timeout_ms),
            body_timeout: Duration::from_millis(http.body_timeout_ms),
            keep_alive: Duration::from_millis(http.keep_alive_ms),
            max_wait: Duration::from_secs(http.max_wait_seconds),
            threads: http.threads,
            max_in_flight: http.max_in_flight,
            max_body_memory: usize::try_from(http.max_body_memory).unwrap_or(usize::MAX),
            drain: Duration::from_millis(settings.worker.drain_ms),
        }
    }
}
