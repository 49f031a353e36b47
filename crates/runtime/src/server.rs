//! An HTTP server: bound first, so that whoever asked for port 0 learns the port, and an address that is taken is
//! told at the start; then run until it is told to stop.

use std::{future::Future, io, net::SocketAddr};

use actix_web::dev;
use tokio_util::sync::CancellationToken;

/// Bound, and ready to run.
pub struct Server {
    address: SocketAddr,
    server: dev::Server,
}

/// The address of `http.listen` cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("http.listen: {address} cannot be taken: {reason}")]
pub struct NotBound {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    pub reason: io::Error,
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

    /// Serves until `shutdown`, beside work that goes on until then too.
    ///
    /// # Errors
    /// The server ended by itself. Nobody could see into the process any more: the work was stopped in good order.
    pub async fn run_beside(self, work: impl Future<Output = ()>, shutdown: CancellationToken) -> io::Result<()> {
        let serving = async {
            let served = self.run(shutdown.clone()).await;
            shutdown.cancel();
            served
        };
        let (served, ()) = tokio::join!(serving, work);
        served
    }
}
