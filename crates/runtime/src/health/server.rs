//! A small HTTP server of health and metrics, for the processes that serve nothing else.

use std::{net::SocketAddr, time::Duration};

use actix_web::{App, HttpServer, middleware::DefaultHeaders};

use super::{Readiness, routes};
use crate::{
    server::{NotBound, Server},
    telemetry::Metrics,
};

/// Takes the address for such a server, and logs it; port 0 takes a free port. Inside a tokio runtime.
///
/// # Errors
/// The address cannot be taken.
pub fn bind(listen: SocketAddr, readiness: Readiness, metrics: Metrics) -> Result<Server, NotBound> {
    let not_bound = |reason| NotBound { address: listen, reason };
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
        .bind(listen)
        .map_err(not_bound)?;
    let server = Server::of(&bound.addrs(), bound.run()).map_err(not_bound)?;
    tracing::info!(http.address = %server.address(), "health and metrics are served on http://{}", server.address());
    Ok(server)
}
