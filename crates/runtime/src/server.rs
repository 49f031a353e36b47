//! An HTTP server: bound first, so that whoever asked for port 0 learns the port; then run until it is told to stop.

use std::{io, net::SocketAddr};

use actix_web::dev;
use tokio_util::sync::CancellationToken;

/// Bound, and ready to run.
pub struct Server {
    address: SocketAddr,
    server: dev::Server,
}

impl Server {
    /// A server that has taken these addresses, of which the first is told.
    ///
    /// # Errors
    /// It has taken none.
    pub fn of(addresses: &[SocketAddr], server: dev::Server) -> io::Result<Self> {
        let address = addresses.first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then takes no more connections, and lets the requests in flight end.
    ///
    /// # Errors
    /// The server ended by itself.
    pub async fn run(self, shutdown: CancellationToken) -> io::Result<()> {
        let handle = self.server.handle();
        let stopping = tokio::spawn(async move {
            shutdown.cancelled().await;
            handle.stop(true).await;
        });
        let ended = self.server.await;
        stopping.abort();
        ended
    }
}
