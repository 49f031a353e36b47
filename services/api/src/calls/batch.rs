//! `POST /jobs/batch`: many jobs in one write, each judged on its own.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, post, web::Data};
use gristmill_common::http::{BatchItem, BatchRequest, BatchResponse, FieldError, JobView};
use gristmill_engine::EngineError;
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
    // An item that is no job keeps its place: places are part of idempotency keys.
    let (mut jobs, mut outcomes) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for (place, item) in (0..).zip(&items) {
        let readable = json::read_checked(item.get()).map(|job| jobs.push((place, job)));
        outcomes.push(readable.map_err(not_a_job));
    }
    let mut submitted = api.engine.submit_batch(origin, jobs).await.into_iter();
    let mut outcomes: Vec<Result<JobView, ApiError>> = outcomes
        .into_iter()
        .map(|readable| {
            readable?;
            let outcome = submitted.next().unwrap_or(Err(EngineError::NoSuchJob));
            Ok(JobView::of(&outcome?))
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

fn not_a_job(error: FieldError) -> ApiError {
    ApiError::with_errors(Code::InvalidJob, vec![error])
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
