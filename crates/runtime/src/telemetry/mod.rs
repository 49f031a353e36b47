//! What a process says of itself: log lines on stderr, and metrics.

mod json;
mod metrics;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env,
    io::{self, IsTerminal},
    panic, thread,
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::ParseError,
    fmt::{MakeWriter, format::JsonFields, layer},
    layer::SubscriberExt,
    registry,
    util::{SubscriberInitExt, TryInitError},
};

pub use self::metrics::{Metrics, MetricsError};
use crate::settings::{Log, LogFormat};

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not in the form of [`EnvFilter`].
    #[error("log.filter: is no filter: {0}")]
    Filter(#[from] ParseError),
    /// The process already logs elsewhere.
    #[error("the log is already set up")]
    AlreadySet(#[from] TryInitError),
}

/// Logs to stderr from here on, panics among the rest.
///
/// # Errors
/// A bad filter, or a second call in the same process.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    subscriber(log, io::stderr, io::stderr().is_terminal())?.try_init()?;
    log_panics();
    Ok(())
}

/// A subscriber that writes to `writer`. A writer that fails is not complained of: stderr may be closed, and
/// a process must not die of having nowhere to log to.
///
/// # Errors
/// A bad filter.
pub fn subscriber<W>(log: &Log, writer: W, is_terminal: bool) -> Result<impl Subscriber + Send + Sync, TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let as_text = match log.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => is_terminal,
    };
    let lines = layer().with_writer(writer).log_internal_errors(false);
    let lines = if as_text {
        // Colours only for eyes; <https://no-color.org> says how to refuse them.
        let colours = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colours).boxed()
    } else {
        lines.with_ansi(false).fmt_fields(JsonFields::new()).event_format(json::JsonLine).boxed()
    };
    Ok(registry().with(lines.with_filter(EnvFilter::try_new(&log.filter)?)))
}

/// Panics become log lines like any other. The default hook would write plain text between JSON lines, and
/// panic again when stderr is closed.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        // Captured only if RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        tracing::error!(
            panic.message = panic.payload_as_str().unwrap_or("(no message)"),
            panic.location = location,
            panic.backtrace = backtrace,
            thread.name = thread.name().unwrap_or("(unnamed)"),
            "a thread panicked"
        );
    }));
}
