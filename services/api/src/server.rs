//! The server: bound first, so that whoever asked for port 0 learns the port; then run until it is told to stop.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use actix_web::{
    App, HttpServer,
    middleware::from_fn,
    web::{self, Data},
};
use gristmill_engine::Engine;
use gristmill_runtime::{
    health::{self, Readiness},
    telemetry::Metrics,
};
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    calls::{Api, operations::Document},
    config::{ApiConfig, DISCONNECT_TIMEOUT},
    gate::Gate,
    problem::{ApiError, Code},
    routes::{self, Table},
};

/// Bound, and ready to run.
pub struct Server {
    address: SocketAddr,
    server: actix_web::dev::Server,
}

impl Server {
    /// Takes the address of the configuration. Inside a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be taken.
    pub fn bind(config: ApiConfig, engine: Engine, readiness: Readiness, metrics: Metrics) -> io::Result<Self> {
        let document = routes::document();
        let table = Arc::new(Table::of(&document));
        let document = Data::new(Document::new(&document).map_err(io::Error::other)?);
        let threads = match config.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let api = Data::new(Api { engine, config: config.clone() });
        let app = move || {
            let gate = Rc::new(Gate::new(table.clone()));
            App::new()
                .app_data(api.clone())
                .app_data(document.clone())
                .wrap(from_fn(move |request, next| gate.clone().pass(request, next)))
                .configure(|service| routes::calls(&mut ServiceConfig::new(service)))
                .configure(health::routes(readiness.clone(), metrics.clone()))
                .default_service(web::to(nothing_here))
        };
        let bound = HttpServer::new(app)
            .workers(threads)
            .disable_signals()
            .client_request_timeout(config.header_timeout)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .keep_alive(config.keep_alive)
            .shutdown_timeout(config.drain.as_secs().max(1))
            .bind(config.listen)?;
        let address = bound.addrs().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { address, server: bound.run() })
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

async fn nothing_here() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::new(Code::NotFound, "GET /openapi.json lists every address."))
}
