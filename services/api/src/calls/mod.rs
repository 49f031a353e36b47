//! The calls, grouped by what they are about: extract, one engine call, respond.

pub(crate) mod batch;
pub(crate) mod change;
pub(crate) mod dead_letters;
pub(crate) mod job_types;
pub(crate) mod list;
pub(crate) mod operations;
pub(crate) mod queues;
pub(crate) mod read;
pub(crate) mod schedules;
pub(crate) mod stats;
pub(crate) mod submit;
mod text;
pub(crate) mod workers;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap, HeaderValue},
    },
};
use gristmill_common::http::Problem;
use gristmill_engine::{Engine, Origin};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ApiConfig,
    caller::Caller,
    headers::{content_type, idempotency, trace},
    intake::Intake,
    problem::{ApiError, Code},
    query::Parameters,
};

/// What the calls work with.
pub(crate) struct Api {
    pub(crate) engine: Engine,
    pub(crate) config: ApiConfig,
}

/// For the document: every call may be refused in this form.
#[derive(utoipa::IntoResponses)]
#[response(
    status = "default",
    description = "What went wrong, as RFC 9457 has it; `code` is a word from the catalogue",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "it describes answers, and is never made")]
pub(crate) struct Refused(Problem);

/// Where a submission comes from.
fn origin(caller: Caller, headers: &HeaderMap) -> Result<Origin, ApiError> {
    Ok(Origin { tenant: caller.tenant, idempotency_key: idempotency::key(headers)?, trace: trace::parent(headers) })
}

/// A body that must be a JSON object, of a call without parameters; `code` for one that says the wrong thing.
async fn object<T: DeserializeOwned>(
    api: &Api,
    request: &HttpRequest,
    intake: &Intake,
    code: Code,
) -> Result<T, ApiError> {
    content_type::require_json(request.headers())?;
    Parameters::of(request).finish()?;
    let body = intake.whole(request.headers(), api.config.max_json_bytes, api.config.body_timeout).await?;
    crate::json::read(&body).map_err(|bad| ApiError::of_json(code, bad))
}

/// An answer in JSON.
fn json(status: StatusCode, body: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, body).map_err(|_| ApiError::internal())?;
    let mut answer = HttpResponse::with_body(status, actix_web::body::BoxBody::new(bytes));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(answer)
}
