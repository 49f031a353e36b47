//! A small HTTP server of health and metrics, for the processes that serve nothing else.

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, dev::Server, middleware::DefaultHeaders};
use tokio_util::sync::CancellationToken;

use super::{Readiness, routes};
use crate::telemetry::Metrics;

/// Bound, and ready to run.
pub struct HealthServer {
    address: SocketAddr,
    server: Server,
}

impl HealthServer {
    /// Takes the address; port 0 takes a free port. Inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be taken.
    pub fn bind(listen: SocketAddr, readiness: Readiness, metrics: Metrics) -> io::Result<Self> {
        let app = move || {
            App::new()
                .wrap(DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
                .configure(routes(readiness.clone(), metrics.clone()))
        };
        let bound = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .client_request_timeout(Duration::from_secs(5))
            .keep_alive(Duration::from_secs(75))
            .shutdown_timeout(2)
            .bind(listen)?;
        let address = bound.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, server: bound.run() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
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

/// Serves health and metrics until `shutdown`, and logs where.
///
/// # Errors
/// The address cannot be taken, or the server ended by itself.
pub async fn serve(
    listen: SocketAddr,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let server = HealthServer::bind(listen, readiness, metrics)?;
    tracing::info!(http.address = %server.address(), "health and metrics are served on http://{}", server.address());
    server.run(shutdown).await
}
