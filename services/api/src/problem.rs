//! The one file where errors become HTTP: the catalogue of codes, and which error has which.

use std::borrow::Cow;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use gristmill_common::http::{FieldError, Problem};
use gristmill_engine::{EngineError, StoreError};

use crate::json::{BadJson, MAX_DEPTH, shorten};

/// The content type of every error (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Every code there is. `API.md` has the same table; a test holds the two together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each has its title below")]
pub enum Code {
    BadRequest,
    MalformedJson,
    BodyIncomplete,
    CrossSiteRequest,
    NotFound,
    JobNotFound,
    QueueNotFound,
    MethodNotAllowed,
    RequestTimeout,
    JobNotFinished,
    JobAlreadyFinished,
    JobHasNoResult,
    JobNotRetryable,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidJob,
    InvalidBatch,
    InvalidQuery,
    InvalidIdempotencyKey,
    InvalidQueueName,
    InvalidUtf8,
    NestingTooDeep,
    UnknownJobType,
    UnknownQueue,
    TextNotAccepted,
    IdempotencyKeyReused,
    HeadersTooLarge,
    InternalError,
    StoreUnavailable,
    BrokerUnavailable,
    Overloaded,
    OutOfSpace,
}

impl Code {
    /// The whole catalogue, by status.
    pub const ALL: [Self; 32] = [
        Self::BadRequest,
        Self::MalformedJson,
        Self::BodyIncomplete,
        Self::CrossSiteRequest,
        Self::NotFound,
        Self::JobNotFound,
        Self::QueueNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::JobNotFinished,
        Self::JobAlreadyFinished,
        Self::JobHasNoResult,
        Self::JobNotRetryable,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidJob,
        Self::InvalidBatch,
        Self::InvalidQuery,
        Self::InvalidIdempotencyKey,
        Self::InvalidQueueName,
        Self::InvalidUtf8,
        Self::NestingTooDeep,
        Self::UnknownJobType,
        Self::UnknownQueue,
        Self::TextNotAccepted,
        Self::IdempotencyKeyReused,
        Self::HeadersTooLarge,
        Self::InternalError,
        Self::StoreUnavailable,
        Self::BrokerUnavailable,
        Self::Overloaded,
        Self::OutOfSpace,
    ];

    /// The stable word for programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.entry().0
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        self.entry().1
    }

    /// The same for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::BadRequest => ("bad_request", 400, "The request makes no sense"),
            Self::MalformedJson => ("malformed_json", 400, "The body is not JSON, or has a key twice"),
            Self::BodyIncomplete => ("body_incomplete", 400, "The body broke off"),
            Self::CrossSiteRequest => {
                ("cross_site_request", 403, "A page of another site may not change anything here")
            }
            Self::NotFound => ("not_found", 404, "There is nothing at this address"),
            Self::JobNotFound => ("job_not_found", 404, "There is no such job"),
            Self::QueueNotFound => ("queue_not_found", 404, "There is no such queue"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "The address does not take this method"),
            Self::RequestTimeout => ("request_timeout", 408, "The body came too slowly"),
            Self::JobNotFinished => ("job_not_finished", 409, "The job has not finished"),
            Self::JobAlreadyFinished => ("job_already_finished", 409, "The job has finished already"),
            Self::JobHasNoResult => ("job_has_no_result", 409, "The job ended without a result"),
            Self::JobNotRetryable => ("job_not_retryable", 409, "Only failed and cancelled jobs can be retried"),
            Self::PayloadTooLarge => ("payload_too_large", 413, "The body is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "The body is of a type not taken here"),
            Self::InvalidJob => ("invalid_job", 422, "The job makes no sense"),
            Self::InvalidBatch => ("invalid_batch", 422, "The batch makes no sense"),
            Self::InvalidQuery => ("invalid_query", 422, "The query makes no sense"),
            Self::InvalidIdempotencyKey => ("invalid_idempotency_key", 422, "The idempotency key is not one"),
            Self::InvalidQueueName => ("invalid_queue_name", 422, "The queue's name is not one"),
            Self::InvalidUtf8 => ("invalid_utf8", 422, "The text is not UTF-8"),
            Self::NestingTooDeep => ("nesting_too_deep", 422, "The JSON is nested too deeply"),
            Self::UnknownJobType => ("unknown_job_type", 422, "There is no such job type"),
            Self::UnknownQueue => ("unknown_queue", 422, "The queue is not declared"),
            Self::TextNotAccepted => ("text_not_accepted", 422, "The job type does not take a text body"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", 422, "The idempotency key was used for another request")
            }
            Self::HeadersTooLarge => ("headers_too_large", 431, "The headers are too large"),
            Self::InternalError => ("internal_error", 500, "Something went wrong in the server"),
            Self::StoreUnavailable => ("store_unavailable", 503, "The store cannot be reached"),
            Self::BrokerUnavailable => ("broker_unavailable", 503, "The broker cannot be reached"),
            Self::Overloaded => ("overloaded", 503, "The server has too much to do"),
            Self::OutOfSpace => ("out_of_space", 503, "The store has no room left"),
        }
    }

    /// After how many seconds it may be worth another try.
    pub(crate) fn retry_after(self) -> Option<u32> {
        match self {
            Self::Overloaded => Some(1),
            Self::StoreUnavailable | Self::BrokerUnavailable => Some(2),
            Self::OutOfSpace => Some(10),
            _ => None,
        }
    }

    fn status_code(self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Why a request is not answered as hoped. The gate makes the answer of it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {detail}", .code.word())]
pub(crate) struct ApiError {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    #[source]
    source: Option<EngineError>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), source: None }
    }

    /// With the fields at fault.
    pub(crate) fn with_errors(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => format!("The body {}.", only.detail),
            [only] => format!("{}: {}.", only.pointer, only.detail),
            many => format!("{} fields are at fault.", many.len()),
        };
        Self { errors, ..Self::new(code, detail) }
    }

    /// One parameter of the query is at fault.
    pub(crate) fn of_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::with_errors(Code::InvalidQuery, vec![FieldError::new(format!("?{name}"), detail)])
    }

    /// What is wrong with a body that should have been JSON; `code` for one that is JSON but says the wrong thing.
    pub(crate) fn of_json(code: Code, bad: BadJson) -> Self {
        match bad {
            BadJson::Malformed(detail) => Self::new(Code::MalformedJson, format!("Not strict JSON: {detail}.")),
            BadJson::TooDeep => {
                Self::new(Code::NestingTooDeep, format!("At most {MAX_DEPTH} levels of arrays and objects are taken."))
            }
            BadJson::Wrong(errors) => Self::with_errors(code, errors),
        }
    }

    /// What an error that is none of ours means, by its status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let code = match status.as_u16() {
            404 => Code::NotFound,
            405 => Code::MethodNotAllowed,
            408 => Code::RequestTimeout,
            413 => Code::PayloadTooLarge,
            415 => Code::UnsupportedMediaType,
            431 => Code::HeadersTooLarge,
            400..500 => Code::BadRequest,
            _ => Code::InternalError,
        };
        Self::new(code, format!("{}.", code.title()))
    }

    pub(crate) fn internal() -> Self {
        Self::new(Code::InternalError, "It is logged under the request's id.")
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The body of the answer.
    pub(crate) fn problem(&self, request_id: &str) -> Problem {
        Problem {
            code: self.code.word().to_owned(),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone().into_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        }
    }

    /// For the log: what the answer does not tell.
    pub(crate) fn cause(&self) -> String {
        self.source.as_ref().map_or_else(|| self.to_string(), ToString::to_string)
    }

    /// The fields of a text submission stand in the query.
    pub(crate) fn in_query(mut self) -> Self {
        for error in &mut self.errors {
            if let Some(name) = error.pointer.strip_prefix('/') {
                error.pointer = format!("?{name}");
            }
        }
        if self.code == Code::InvalidJob {
            return Self { source: self.source, ..Self::with_errors(self.code, self.errors) };
        }
        self
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        // The gate adds the body: only there the request's id is known.
        HttpResponse::new(self.status_code())
    }
}

const ASK_AGAIN: &str = "What was asked for may have been done all the same. A submission with an Idempotency-Key can \
                         be sent again without making a second job.";

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        use gristmill_common::State;
        let said = |code, error: &EngineError| Self::new(code, sentence(&error.to_string()));
        let built = match &error {
            EngineError::Invalid(errors) => Self::with_errors(Code::InvalidJob, errors.clone()),
            EngineError::UnknownJobType(name) => {
                let detail = format!("There is no job type `{}`: GET /api/v1/job-types lists them.", shorten(name));
                let errors = vec![FieldError::new("/type", "is not a job type that is known here")];
                Self { errors, ..Self::new(Code::UnknownJobType, detail) }
            }
            EngineError::UnknownQueue(name) => {
                let detail = format!("Queue `{}` is not declared: PUT /api/v1/queues/NAME does that.", shorten(name));
                let errors = vec![FieldError::new("/queue", "is not a declared queue")];
                Self { errors, ..Self::new(Code::UnknownQueue, detail) }
            }
            EngineError::TextNotAccepted(_) => said(Code::TextNotAccepted, &error),
            EngineError::InvalidUtf8 { .. } => said(Code::InvalidUtf8, &error),
            EngineError::TextTooLarge { .. } => said(Code::PayloadTooLarge, &error),
            EngineError::TextBrokeOff => said(Code::BodyIncomplete, &error),
            EngineError::IdempotencyKeyReused => said(Code::IdempotencyKeyReused, &error),
            EngineError::NoSuchJob => said(Code::JobNotFound, &error),
            EngineError::NoSuchQueue => said(Code::QueueNotFound, &error),
            EngineError::NoResult(State::Failed | State::Cancelled) => said(Code::JobHasNoResult, &error),
            EngineError::NoResult(_) => said(Code::JobNotFinished, &error),
            EngineError::Conflict { action: "retried", .. } => said(Code::JobNotRetryable, &error),
            EngineError::Conflict { state, .. } if state.is_terminal() => said(Code::JobAlreadyFinished, &error),
            EngineError::Conflict { .. } => said(Code::JobNotFinished, &error),
            EngineError::BadCursor => Self::of_parameter("cursor", "is not one that this list made, with this order"),
            EngineError::Broker(_) => Self::new(Code::BrokerUnavailable, ASK_AGAIN),
            EngineError::Store(store) => match store {
                // A fleet's store that a newer build has migrated: newer replicas answer.
                // What expired was of this request, and comes again with it.
                StoreError::Unavailable(_) | StoreError::UploadExpired(_) | StoreError::NewerSchema { .. } => {
                    Self::new(Code::StoreUnavailable, ASK_AGAIN)
                }
                StoreError::Overloaded => Self::new(Code::Overloaded, "Nothing was done. Try again a little later."),
                StoreError::OutOfSpace(_) => {
                    Self::new(Code::OutOfSpace, "Nothing was done. Try again when there is room.")
                }
                StoreError::InUse(_)
                | StoreError::NotADatabase { .. }
                | StoreError::Url(_)
                | StoreError::Corrupt(_) => Self::internal(),
            },
        };
        Self { source: Some(error), ..built }
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests;
