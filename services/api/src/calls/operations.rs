//! `/openapi.json`, and the words for what the runtime serves beside it.

use actix_web::{HttpResponse, get, web::Data};
use bytes::Bytes;

use super::Refused;

/// The served document: written once.
pub(crate) struct Document(Bytes);

impl Document {
    pub(crate) fn new(document: &utoipa::openapi::OpenApi) -> serde_json::Result<Self> {
        serde_json::to_vec(document).map(|bytes| Self(bytes.into()))
    }
}

/// Get this document
#[utoipa::path(
    tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Refused)
)]
#[get("/openapi.json")]
pub(crate) async fn get_openapi(document: Data<Document>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document.0.clone())
}

/// Is the process alive?
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "operations",
    responses((status = 200, description = "It is", body = Object, content_type = "application/json"))
)]
#[allow(dead_code, reason = "served by the runtime, described here")]
pub(crate) fn live() {}

/// Can the process do its work?
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "operations",
    responses(
        (status = 200, description = "It can", body = Object, content_type = "application/json"),
        (status = 503, description = "It cannot: which check failed", body = Object, content_type = "application/json")
    )
)]
#[allow(dead_code, reason = "served by the runtime, described here")]
pub(crate) fn ready() {}

/// Get the metrics
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operations",
    responses((status = 200, description = "In the text format of Prometheus", body = String, content_type = "text/plain"))
)]
#[allow(dead_code, reason = "served by the runtime, described here")]
pub(crate) fn metrics() {}
