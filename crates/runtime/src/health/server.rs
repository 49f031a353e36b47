//! A small HTTP server of health and metrics, for the processes that serve nothing else.

use std::{io, net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, middleware::DefaultHeaders};
use tokio_util::sync::CancellationToken;

use super::{Readiness, routes};
use crate::{server::Server, telemetry::Metrics};

/// Takes the address for such a server; port 0 takes a free port. Inside a tokio runtime.
///
/// # Errors
/// The address cannot be taken.
pub fn bind(listen: SocketAddr, readiness: Readiness, metrics: Metrics) -> io::Result<Server> {
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
    Server::of(&bound.addrs(), bound.run())
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
    let server = bind(listen, readiness, metrics)?;
    tracing::info!(http.address = %server.address(), "health and metrics are served on http://{}", server.address());
    server.run(shutdown).await
}
