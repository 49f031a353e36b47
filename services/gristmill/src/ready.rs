//! The line that says that a server accepts requests.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

/// How the line begins that says where the server listens.
pub(crate) const READY: &str = "gristmill is ready on ";

/// Says on stdout that requests are accepted, and where. A closed stdout is nothing to die of.
pub(crate) fn announce(address: SocketAddr) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{READY}http://{address}").and_then(|()| stdout.flush());
}
