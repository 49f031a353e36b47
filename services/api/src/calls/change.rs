//! Cancel, retry and delete a job.

use actix_web::{HttpRequest, HttpResponse, delete, http::StatusCode, post, web::Data};
use gristmill_common::http::{JobView, Problem};

use super::{Api, Refused, json};
use crate::{caller::NamedJob, problem::ApiError, query::Parameters};

/// Cancel a job
///
/// At once if it has not started; while it runs, its handler is asked to stop, and `cancel_requested` says so.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job as it is now", body = JobView),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
        Refused
    )
)]
#[post("/jobs/{id}/cancel")]
pub(crate) async fn cancel_job(
    api: Data<Api>,
    named: NamedJob,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let job = api.engine.cancel(&named.0).await?;
    json(StatusCode::ACCEPTED, &JobView::of(&job))
}

/// Run a job again
///
/// A failed or cancelled job runs again under its own id: its attempts go on, and it may have as many more as its
/// type has by default.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 202, description = "The job as it is now", body = JobView),
        (status = 409, description = "It has not failed, nor been cancelled", body = Problem, content_type = "application/problem+json"),
        Refused
    )
)]
#[post("/jobs/{id}/retry")]
pub(crate) async fn retry_job(api: Data<Api>, named: NamedJob, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let job = api.engine.retry(&named.0).await?;
    json(StatusCode::ACCEPTED, &JobView::of(&job))
}

/// Erase a job
///
/// An ended job, and all that belongs to it.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "It has not ended", body = Problem, content_type = "application/problem+json"),
        Refused
    )
)]
#[delete("/jobs/{id}")]
pub(crate) async fn delete_job(
    api: Data<Api>,
    named: NamedJob,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    api.engine.delete(&named.0).await?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}
