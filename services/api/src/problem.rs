//! The one place where errors become HTTP: the catalogue of codes, and which error has which.

mod code;

use std::borrow::Cow;

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use gristmill_common::{
    JobId,
    http::{FieldError, Problem},
};
use gristmill_engine::{EngineError, StoreError};

pub use self::code::Code;
use crate::json::{BadJson, MAX_DEPTH, shorten};

/// The content type of every error (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

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

    /// The job that stands in the way.
    pub(crate) fn in_the_way(&self) -> Option<JobId> {
        if let Some(EngineError::UniqueConflict(holder)) = self.source { holder } else { None }
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

    /// What is wrong with the type or the queue of a schedule's job stands within the schedule.
    pub(crate) fn in_template(mut self) -> Self {
        if matches!(self.code, Code::UnknownJobType | Code::UnknownQueue) {
            self.errors.iter_mut().for_each(|error| error.pointer.insert_str(0, "/job"));
        }
        self
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
            EngineError::InvalidQueue(errors) => Self::with_errors(Code::InvalidQueue, errors.clone()),
            EngineError::InvalidSchedule(errors) => Self::with_errors(Code::InvalidSchedule, errors.clone()),
            EngineError::InvalidReplay(errors) => Self::with_errors(Code::InvalidReplay, errors.clone()),
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
            EngineError::NoSuchSchedule => said(Code::ScheduleNotFound, &error),
            EngineError::Conflict { action: "retried", state } => {
                let errors = vec![FieldError::new("/state", format!("is {state}"))];
                Self { errors, ..said(Code::JobNotRetryable, &error) }
            }
            EngineError::UniqueConflict(holder) => {
                let by = holder.map_or_else(|| "another job".to_owned(), |holder| holder.to_string());
                let errors = vec![FieldError::new("/unique/key", format!("is held by {by}"))];
                Self { errors, ..said(Code::UniqueConflict, &error) }
            }
            EngineError::Overtaken { gate } => {
                let errors = vec![FieldError::new(format!("/{gate}/key"), "was taken over by another submission")];
                Self { errors, ..said(Code::SubmissionOvertaken, &error) }
            }
            EngineError::JustFired => said(Code::JobJustFired, &error),
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
