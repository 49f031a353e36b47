//! The server: its routes, its gate and its limits.

use std::{rc::Rc, sync::Arc};

use actix_web::{
    App, HttpServer,
    middleware::from_fn,
    web::{self, Data},
};
use gristmill_engine::Engine;
use gristmill_runtime::{
    health::{self, Readiness},
    server::{NotBound, Server},
    telemetry::Metrics,
};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    calls::{Api, operations::Document},
    config::{ApiConfig, DISCONNECT_TIMEOUT},
    gate::Gate,
    load::Load,
    problem::{ApiError, Code},
    routes::{self, Table},
};

/// The service cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be taken.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// What `/openapi.json` serves cannot be written.
    #[error("the description of the API cannot be written: {0}")]
    Document(serde_json::Error),
}

/// Takes the address of the configuration. Inside a tokio runtime.
///
/// # Errors
/// The address cannot be taken.
pub fn bind(config: ApiConfig, engine: Engine, readiness: Readiness, metrics: Metrics) -> Result<Server, BindError> {
    let document = routes::document();
    let table = Arc::new(Table::of(&document));
    let document = Data::new(Document::new(&document).map_err(BindError::Document)?);
    let not_bound = |reason| NotBound { address: config.listen, reason };
    let threads = match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let load = Arc::new(Load::new(config.max_in_flight, config.max_body_memory));
    let api = Data::new(Api { engine, config: config.clone() });
    let app = move || {
        let gate = Rc::new(Gate::new(table.clone(), load.clone()));
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
        .bind(config.listen)
        .map_err(not_bound)?;
    Ok(Server::of(&bound.addrs(), bound.run()).map_err(not_bound)?)
}

async fn nothing_here() -> Result<actix_web::HttpResponse, ApiError> {
    Err(ApiError::new(Code::NotFound, "GET /openapi.json lists every address."))
}
