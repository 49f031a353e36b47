//! `POST /jobs`: one job, as JSON or as a text.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{HeaderValue, LOCATION},
    },
    post,
    web::Data,
};
use gristmill_common::http::{JobRequest, JobView, Problem};

use super::{Api, Refused, json, origin, text};
use crate::{
    caller::Caller,
    headers::content_type::{self, Media},
    intake::Intake,
    json,
    problem::{ApiError, Code},
    query::Parameters,
};

/// Submit a job
///
/// Answered when the job is durable. As JSON it has no parameters in the query; a `text/plain` body is streamed
/// into the store, and the other fields are parameters. With an `Idempotency-Key`, the same request sent again is
/// answered with the job as it is now. A unique key that another job holds is a conflict, or is answered with that job; a
/// debounced key, with the job that is put off.
#[utoipa::path(
    tag = "jobs",
    request_body(content((JobRequest = "application/json"), (String = "text/plain"))),
    params(
        ("type" = Option<String>, Query, description = "With a text: the job type"),
        ("payload" = Option<String>, Query, description = "With a text: a JSON object, the payload's other fields"),
        ("queue" = Option<String>, Query, description = "With a text, as all that follow: as in the JSON body"),
        ("priority" = Option<String>, Query),
        ("run_at" = Option<String>, Query),
        ("delay_ms" = Option<u64>, Query),
        ("max_attempts" = Option<u32>, Query),
        ("backoff" = Option<String>, Query, description = "A JSON object"),
        ("timeout_ms" = Option<u64>, Query),
        ("deadline" = Option<String>, Query),
        ("tags" = Option<String>, Query, description = "Separated by commas, or sent more than once"),
        ("unique" = Option<String>, Query, description = "A JSON object, as the two that follow"),
        ("concurrency" = Option<String>, Query),
        ("rate_limit" = Option<String>, Query),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context")
    ),
    responses(
        (status = 202, description = "Stored", body = JobView,
         headers(("Location" = String, description = "Where the job is"))),
        (status = 409, description = "Another job holds the unique key", body = Problem,
         content_type = "application/problem+json",
         headers(("Location" = String, description = "Where that job is; it may be just on its way, and not there yet"))),
        Refused
    )
)]
#[post("/jobs")]
pub(crate) async fn submit_job(
    api: Data<Api>,
    caller: Caller,
    request: HttpRequest,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let headers = request.headers();
    let origin = origin(caller, headers)?;
    let job = match content_type::media(headers)? {
        Media::Json => {
            Parameters::of(&request).finish()?;
            let body = intake.whole(headers, api.config.max_json_bytes, api.config.body_timeout).await?;
            let job: JobRequest = json::read(&body).map_err(|bad| ApiError::of_json(Code::InvalidJob, bad))?;
            api.engine.submit(origin, job).await?
        }
        Media::Text => text::submit(&api, origin, &request, &intake).await?,
    };
    tracing::debug!(job.id = %job.key.id, job.type = %job.job_type, "a job was accepted");
    let mut answer = json(StatusCode::ACCEPTED, &JobView::of(&job))?;
    let location = HeaderValue::try_from(format!("/api/v1/jobs/{}", job.key.id)).map_err(|_| ApiError::internal())?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}
