//! The catalogue of codes.

use actix_web::http::StatusCode;

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
    ScheduleNotFound,
    MethodNotAllowed,
    RequestTimeout,
    JobNotFinished,
    JobAlreadyFinished,
    JobHasNoResult,
    JobNotRetryable,
    UniqueConflict,
    SubmissionOvertaken,
    JobJustFired,
    PayloadTooLarge,
    UnsupportedMediaType,
    InvalidJob,
    InvalidBatch,
    InvalidSchedule,
    InvalidReplay,
    InvalidQueue,
    InvalidQuery,
    InvalidIdempotencyKey,
    InvalidQueueName,
    InvalidScheduleName,
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
    pub const ALL: [Self; 40] = [
        Self::BadRequest,
        Self::MalformedJson,
        Self::BodyIncomplete,
        Self::CrossSiteRequest,
        Self::NotFound,
        Self::JobNotFound,
        Self::QueueNotFound,
        Self::ScheduleNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::JobNotFinished,
        Self::JobAlreadyFinished,
        Self::JobHasNoResult,
        Self::JobNotRetryable,
        Self::UniqueConflict,
        Self::SubmissionOvertaken,
        Self::JobJustFired,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidJob,
        Self::InvalidBatch,
        Self::InvalidSchedule,
        Self::InvalidReplay,
        Self::InvalidQueue,
        Self::InvalidQuery,
        Self::InvalidIdempotencyKey,
        Self::InvalidQueueName,
        Self::InvalidScheduleName,
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
            Self::ScheduleNotFound => ("schedule_not_found", 404, "There is no such schedule"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "The address does not take this method"),
            Self::RequestTimeout => ("request_timeout", 408, "The body came too slowly"),
            Self::JobNotFinished => ("job_not_finished", 409, "The job has not finished"),
            Self::JobAlreadyFinished => ("job_already_finished", 409, "The job has finished already"),
            Self::JobHasNoResult => ("job_has_no_result", 409, "The job ended without a result"),
            Self::JobNotRetryable => ("job_not_retryable", 409, "Only failed and cancelled jobs can be retried"),
            Self::UniqueConflict => ("unique_conflict", 409, "Another job holds the unique key"),
            Self::SubmissionOvertaken => ("submission_overtaken", 409, "Another submission has taken the key over"),
            Self::JobJustFired => ("job_just_fired", 409, "A schedule has just made the job"),
            Self::PayloadTooLarge => ("payload_too_large", 413, "The body is too large"),
            Self::UnsupportedMediaType => ("unsupported_media_type", 415, "The body is of a type not taken here"),
            Self::InvalidJob => ("invalid_job", 422, "The job makes no sense"),
            Self::InvalidBatch => ("invalid_batch", 422, "The batch makes no sense"),
            Self::InvalidSchedule => ("invalid_schedule", 422, "The schedule makes no sense"),
            Self::InvalidReplay => ("invalid_replay", 422, "What is to be replayed or discarded makes no sense"),
            Self::InvalidQueue => ("invalid_queue", 422, "The queue's settings make no sense"),
            Self::InvalidQuery => ("invalid_query", 422, "The query makes no sense"),
            Self::InvalidIdempotencyKey => ("invalid_idempotency_key", 422, "The idempotency key is not one"),
            Self::InvalidQueueName => ("invalid_queue_name", 422, "The queue's name is not one"),
            Self::InvalidScheduleName => ("invalid_schedule_name", 422, "The schedule's name is not one"),
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

    pub(super) fn status_code(self) -> StatusCode {
        StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
