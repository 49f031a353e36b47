//! The answers to "are you alive?", "are you ready?" and "how do you fare?", for any process.

mod breakers;
mod readiness;
mod server;

use actix_web::{
    HttpResponse, guard,
    http::header::CACHE_CONTROL,
    web::{self, ServiceConfig},
};
use serde_json::json;

pub use readiness::{CheckResult, Readiness, Report, Status};
pub use server::bind;

use crate::telemetry::Metrics;

/// `/health/live`, `/health/ready` and `/metrics`, to be given to `App::configure`.
pub fn routes(readiness: Readiness, metrics: Metrics) -> impl FnOnce(&mut ServiceConfig) + Clone {
    move |service| {
        let reads = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
        service
            .service(web::resource("/health/live").route(reads().to(live)))
            .service(web::resource("/health/ready").route(reads().to(move || ready(readiness.clone()))))
            .service(web::resource("/metrics").route(reads().to(move || render(metrics.clone()))));
    }
}

/// The process runs and its event loop turns: there is nothing else to know.
async fn live() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(json!({ "status": "live" }))
}

async fn ready(readiness: Readiness) -> HttpResponse {
    let report = readiness.report().await;
    let mut response = if report.is_ready() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, "no-store")).json(report)
}

async fn render(metrics: Metrics) -> HttpResponse {
    let format = "text/plain; version=0.0.4; charset=utf-8";
    HttpResponse::Ok().content_type(format).body(metrics.render())
}
