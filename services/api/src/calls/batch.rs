//! `POST /jobs/batch`: many jobs in one write, each judged on its own.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, post, web::Data};
use gristmill_common::http::{BatchItem, BatchRequest, BatchResponse, FieldError, JobRequest, JobView};
use serde_json::value::RawValue;

use super::{Api, Refused, json, origin};
use crate::{
    caller::Caller,
    config::MAX_BATCH_ITEMS,
    headers::content_type,
    intake::Intake,
    json,
    problem::{ApiError, Code},
    query::Parameters,
};

/// Submit many jobs
///
/// Each has an outcome of its own, in the order sent, with pointers into itself. Only if none could be stored
/// because the server could not do its work, the whole is answered with that 503. With an `Idempotency-Key`, each
/// item's place in the batch is part of its key.
#[utoipa::path(
    tag = "jobs",
    request_body = BatchRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 202, description = "An outcome for each", body = BatchResponse), Refused)
)]
#[post("/jobs/batch")]
pub(crate) async fn submit_batch(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    content_type::require_json(headers)?;
    Parameters::of(&request).finish()?;
    let request_id = caller.request_id.clone();
    let origin = origin(caller, headers)?;
    let body = intake.whole(headers, api.config.max_batch_bytes, api.config.body_timeout).await?;
    let items = items(&body)?;
    let (jobs, mut refused): (Vec<JobRequest>, Vec<Option<ApiError>>) = items.iter().map(|item| read(item)).unzip();
    let outcomes = api.engine.submit_batch(origin, jobs).await;
    let mut outcomes: Vec<Result<JobView, ApiError>> = outcomes
        .into_iter()
        .zip(&mut refused)
        .map(|(outcome, refused)| match refused.take() {
            Some(error) => Err(error),
            None => outcome.map(|job| JobView::of(&job)).map_err(ApiError::from),
        })
        .collect();
    if let Some(error) = common_failure(&mut outcomes) {
        return Err(error);
    }
    let items = outcomes.into_iter().map(|outcome| item(outcome, request_id.as_str())).collect();
    json(StatusCode::ACCEPTED, &BatchResponse { items })
}

fn items(body: &[u8]) -> Result<Vec<Box<RawValue>>, ApiError> {
    let batch: BatchRequest = json::read(body).map_err(|bad| ApiError::of_json(Code::InvalidBatch, bad))?;
    if batch.jobs.len() > MAX_BATCH_ITEMS {
        let detail = format!("must be at most {MAX_BATCH_ITEMS}, and are {}", batch.jobs.len());
        return Err(ApiError::with_errors(Code::InvalidBatch, vec![FieldError::new("/jobs", detail)]));
    }
    Ok(batch.jobs)
}

/// An item that is no job keeps its place, because places are part of idempotency keys: what stands in for it
/// names no job type, so that nothing is stored for it.
fn read(item: &RawValue) -> (JobRequest, Option<ApiError>) {
    match json::read_checked(item.get()) {
        Ok(job) => (job, None),
        Err(error) => (nothing(), Some(ApiError::with_errors(Code::InvalidJob, vec![error]))),
    }
}

fn nothing() -> JobRequest {
    JobRequest {
        job_type: String::new(),
        payload: None,
        queue: None,
        priority: None,
        run_at: None,
        delay_ms: None,
        max_attempts: None,
        backoff: None,
        timeout_ms: None,
        deadline: None,
        tags: Vec::new(),
    }
}

/// The server's own failure, if that is all there is to tell.
fn common_failure(outcomes: &mut Vec<Result<JobView, ApiError>>) -> Option<ApiError> {
    let is_failure =
        |outcome: &Result<JobView, ApiError>| outcome.as_ref().is_err_and(|error| error.code().status() == 503);
    if outcomes.iter().all(is_failure) { outcomes.pop().and_then(Result::err) } else { None }
}

fn item(outcome: Result<JobView, ApiError>, request_id: &str) -> BatchItem {
    match outcome {
        Ok(job) => BatchItem { status: StatusCode::ACCEPTED.as_u16(), job: Some(job), problem: None },
        Err(error) => BatchItem { status: error.code().status(), job: None, problem: Some(error.problem(request_id)) },
    }
}
