//! `GET /jobs/{id}`, its result, its history and its log.

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    get,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER},
    },
    web::Data,
};
use gristmill_common::{
    Body,
    http::{HistoryView, JobView, LogsView},
};
use gristmill_engine::Found;
use serde_json::value::RawValue;

use super::{Api, Refused, json};
use crate::{
    caller::NamedJob,
    headers::{conditional, prefer},
    problem::ApiError,
    query::Parameters,
};

/// After so many seconds a job that has not ended is worth another look.
const LOOK_AGAIN: u32 = 1;

/// Get a job
///
/// With `Prefer: wait=N` the answer is held until the job has ended, or N seconds have passed.
#[utoipa::path(
    tag = "jobs",
    params(
        ("id" = String, Path, description = "The job's id"),
        ("include" = Option<String>, Query, description = "`payload` adds the payload"),
        ("If-None-Match" = Option<String>, Header, description = "An ETag: 304 if the job has not changed"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: at most 60 seconds")
    ),
    responses(
        (status = 200, description = "The job", body = JobView, headers(
            ("ETag" = String, description = "Changes with the job"),
            ("Retry-After" = u32, description = "Seconds, while the job has not ended"),
            ("Preference-Applied" = String, description = "The wait that was honoured")
        )),
        (status = 304, description = "The job has not changed"),
        Refused
    )
)]
#[get("/jobs/{id}")]
pub(crate) async fn get_job(api: Data<Api>, named: NamedJob, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let mut query = Parameters::of(&request);
    let include = query.read_with("include", |word| match word {
        "payload" => Ok(()),
        _ => Err("must be `payload`".to_owned()),
    });
    query.finish()?;
    let wait = prefer::wait(request.headers(), api.config.max_wait);
    let found = match wait {
        Some(patience) => api.engine.wait(&named.0, patience).await?,
        None => api.engine.job(&named.0).await?,
    };
    let suffix = if include.is_some() { "-payload" } else { "" };
    let etag = format!("\"{}-{}{suffix}\"", found.job.key.id, found.job.version);
    let is_terminal = found.job.state.is_terminal();
    let mut answer = if conditional::has_it(request.headers(), &etag) {
        HttpResponse::new(StatusCode::NOT_MODIFIED)
    } else {
        let mut view = view(&found)?;
        if include.is_some() {
            view.payload = Some(raw(&api.engine.payload(&named.0).await?)?);
        }
        json(StatusCode::OK, &view)?
    };
    let headers = answer.headers_mut();
    headers.insert(ETAG, HeaderValue::try_from(etag).map_err(|_| ApiError::internal())?);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if !is_terminal {
        headers.insert(RETRY_AFTER, HeaderValue::from(LOOK_AGAIN));
    }
    if let Some(patience) = wait {
        let applied = HeaderValue::try_from(format!("wait={}", patience.as_secs()));
        let applied = applied.map_err(|_| ApiError::internal())?;
        headers.insert(HeaderName::from_static("preference-applied"), applied);
    }
    Ok(answer)
}

/// Get a job's result
///
/// The result alone, whatever its size.
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The result", body = Object, content_type = "application/json"),
        (status = 409, description = "`job_not_finished`, or `job_has_no_result`", body = gristmill_common::http::Problem, content_type = "application/problem+json"),
        Refused
    )
)]
#[get("/jobs/{id}/result")]
pub(crate) async fn get_result(
    api: Data<Api>,
    named: NamedJob,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let result = api.engine.result(&named.0).await?;
    let mut answer = HttpResponse::Ok();
    answer.insert_header((CONTENT_TYPE, "application/json"));
    Ok(answer.body(SizedStream::new(result.bytes, result.chunks)))
}

/// Get what happened to a job
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "Oldest first", body = HistoryView), Refused)
)]
#[get("/jobs/{id}/history")]
pub(crate) async fn get_history(
    api: Data<Api>,
    named: NamedJob,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let history = api.engine.job(&named.0).await?.job.history;
    let items = history.entries().cloned().collect();
    json(StatusCode::OK, &HistoryView { items, omitted: history.omitted() })
}

/// Get what a job's handler logged
#[utoipa::path(
    tag = "jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "Oldest first", body = LogsView), Refused)
)]
#[get("/jobs/{id}/logs")]
pub(crate) async fn get_logs(api: Data<Api>, named: NamedJob, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Parameters::of(&request).finish()?;
    let items = api.engine.logs(&named.0).await?;
    json(StatusCode::OK, &LogsView { items })
}

/// The job with its result, if that is small enough to stand in it.
fn view(found: &Found) -> Result<JobView, ApiError> {
    let mut view = JobView::of(&found.job);
    if let Some(Body::Inline(result)) = &found.result {
        view.result = Some(raw(result)?);
    }
    Ok(view)
}

/// JSON from the store, as it was put there.
fn raw(bytes: &[u8]) -> Result<Box<RawValue>, ApiError> {
    serde_json::from_slice(bytes).map_err(|_| ApiError::internal())
}
