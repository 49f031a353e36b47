//! Queues: listed, declared, paused, resumed.

use actix_web::{HttpRequest, HttpResponse, get, http::StatusCode, post, put, web::Data};
use gristmill_common::{
    QueueName,
    http::{QueueRequest, QueueView},
};
use gristmill_engine::{EngineError, QueueStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Refused, json};
use crate::{
    headers::content_type,
    intake::Intake,
    json,
    problem::{ApiError, Code},
    query::Parameters,
};

/// Every declared queue.
#[derive(Serialize, ToSchema)]
struct Queues {
    /// By name.
    items: Vec<QueueView>,
}

/// List queues
#[utoipa::path(tag = "platform", responses((status = 200, description = "By name", body = Queues), Refused))]
#[get("/queues")]
pub(crate) async fn list_queues(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let items = api.engine.queues().await?.into_iter().map(view).collect();
    json(StatusCode::OK, &Queues { items })
}

/// Declare a queue
///
/// Declaring it again changes nothing but what the body says. It needs no body.
#[utoipa::path(
    tag = "platform",
    request_body(content = Option<QueueRequest>),
    params(("queue" = String, Path, description = "1 to 64 characters of a-z, 0-9, `_`, `-` and `.`")),
    responses((status = 200, description = "The queue", body = QueueView), Refused)
)]
#[put("/queues/{queue}")]
pub(crate) async fn declare_queue(
    api: Data<Api>,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let name = path_name(&request).map_err(|detail| ApiError::new(Code::InvalidQueueName, detail))?;
    let settings = settings(&api, &request, &intake).await?;
    match settings.rate_limit {
        Some(rate) => api.engine.declare_limited_queue(&name, rate).await?,
        None => api.engine.declare_queue(&name).await?,
    }
    answer(&api, &name).await
}

async fn settings(api: &Api, request: &HttpRequest, intake: &Intake) -> Result<QueueRequest, ApiError> {
    let body = intake.whole(request.headers(), api.config.max_json_bytes, api.config.body_timeout).await?;
    if body.is_empty() {
        return Ok(QueueRequest::default());
    }
    content_type::require_json(request.headers())?;
    json::read(&body).map_err(|bad| ApiError::of_json(Code::InvalidQueue, bad))
}

/// Pause a queue
///
/// What runs goes on; nothing more is started.
#[utoipa::path(
    tag = "platform",
    params(("queue" = String, Path, description = "A declared queue")),
    responses((status = 200, description = "The queue", body = QueueView), Refused)
)]
#[post("/queues/{queue}/pause")]
pub(crate) async fn pause_queue(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let name = path_name(&request).map_err(|_| EngineError::NoSuchQueue)?;
    api.engine.pause_queue(&name).await?;
    answer(&api, &name).await
}

/// Resume a queue
#[utoipa::path(
    tag = "platform",
    params(("queue" = String, Path, description = "A declared queue")),
    responses((status = 200, description = "The queue", body = QueueView), Refused)
)]
#[post("/queues/{queue}/resume")]
pub(crate) async fn resume_queue(api: Data<Api>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let name = path_name(&request).map_err(|_| EngineError::NoSuchQueue)?;
    api.engine.resume_queue(&name).await?;
    answer(&api, &name).await
}

fn path_name(request: &HttpRequest) -> Result<QueueName, String> {
    let name = request.match_info().get("queue").unwrap_or_default();
    name.parse().map_err(|error: gristmill_common::InvalidName| format!("A queue's name {error}."))
}

async fn answer(api: &Api, name: &QueueName) -> Result<HttpResponse, ApiError> {
    let queue = api.engine.queues().await?.into_iter().find(|queue| queue.record.name == *name);
    json(StatusCode::OK, &view(queue.ok_or(EngineError::NoSuchQueue)?))
}

fn view(queue: QueueStatus) -> QueueView {
    QueueView {
        name: queue.record.name,
        paused: queue.record.paused,
        rate_limit: queue.record.rate_limit,
        scheduled: queue.scheduled,
        depth: queue.depth,
        running: queue.running,
        oldest_waiting_since: queue.oldest_waiting_since,
    }
}
