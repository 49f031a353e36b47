//! The orderly end: one token, made in `main`, handed down to everything that runs.

use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What a shell reports for a process that SIGINT ended.
const INTERRUPTED: i32 = 128 + 2;
/// What a shell reports for a process that SIGTERM ended.
const TERMINATED: i32 = 128 + 15;

/// A token that the first SIGTERM or SIGINT trips. A second one ends the process at once, for somebody who
/// cannot wait: nothing is lost by it that a crash would not lose, and that is nothing that was acknowledged.
///
/// # Errors
/// The signals cannot be listened to.
pub fn on_signal() -> io::Result<CancellationToken> {
    let mut signals =
        Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let token = CancellationToken::new();
    let tripped = token.clone();
    tokio::spawn(async move {
        let (name, _) = signals.next().await;
        tracing::info!(signal.name = name, "stopping; a second signal stops at once");
        tripped.cancel();
        let (name, code) = signals.next().await;
        tracing::warn!(signal.name = name, "stopped at once");
        process::exit(code);
    });
    Ok(token)
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// The next signal's name, and the code to exit with if it is obeyed at once.
    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", INTERRUPTED),
            _ = self.terminate.recv() => ("SIGTERM", TERMINATED),
        }
    }
}
