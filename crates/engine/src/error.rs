//! What can go wrong with a use case.

use gristmill_broker::BrokerError;
use gristmill_common::{JobId, State, TypeName, http::FieldError};
use gristmill_storage::StoreError;

/// A use case could not be carried out. Nothing was changed, unless [`StoreError`] says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Fields of the request make no sense.
    #[error("the request has {} invalid field(s)", .0.len())]
    Invalid(Vec<FieldError>),
    /// Settings of a queue make no sense.
    #[error("the queue has {} invalid setting(s)", .0.len())]
    InvalidQueue(Vec<FieldError>),
    /// Fields of a schedule make no sense.
    #[error("the schedule has {} invalid field(s)", .0.len())]
    InvalidSchedule(Vec<FieldError>),
    /// Fields of a replay make no sense.
    #[error("the replay has {} invalid field(s)", .0.len())]
    InvalidReplay(Vec<FieldError>),
    /// Nobody knows the job type.
    #[error("there is no job type `{0}`")]
    UnknownJobType(String),
    /// The queue was never declared.
    #[error("queue `{0}` is not declared")]
    UnknownQueue(String),
    /// The job type does not take a text as the request's body.
    #[error("job type `{0}` does not take a text/plain body")]
    TextNotAccepted(TypeName),
    /// The text is not UTF-8.
    #[error("the text is not valid UTF-8 at byte {offset}")]
    InvalidUtf8 {
        /// The first byte that belongs to no character.
        offset: u64,
    },
    /// The text is over the limit.
    #[error("the text is longer than {limit} bytes")]
    TextTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The text broke off before its end. Nothing of it was kept.
    #[error("the text broke off before its end")]
    TextBrokeOff,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for a different request")]
    IdempotencyKeyReused,
    /// The unique key is held, by this job if it is there already.
    #[error("the unique key is held by {}", .0.map_or("a job that is just being submitted".into(), |id| id.to_string()))]
    UniqueConflict(Option<JobId>),
    /// The submission broke off, or was so slow that somebody else has taken its key over. No job may come of it any
    /// more, which is kept in mind for an hour.
    #[error("the submission was overtaken by another of its key: send it again, with another idempotency key if any")]
    Overtaken {
        /// The field that names the key: `unique`, `debounce`.
        gate: &'static str,
    },
    /// A schedule has made the job so lately that it might make it again if it were gone.
    #[error("a schedule has just made the job, and might make it again: it can be deleted a little later")]
    JustFired,
    /// There is no such job.
    #[error("there is no such job")]
    NoSuchJob,
    /// There is no such queue.
    #[error("there is no such queue")]
    NoSuchQueue,
    /// There is no such schedule.
    #[error("there is no such schedule")]
    NoSuchSchedule,
    /// The job has no result yet, or ended without one.
    #[error("the job is {0}: it has no result")]
    NoResult(State),
    /// The job's state does not allow it.
    #[error("a {state} job cannot be {action}")]
    Conflict {
        /// The state it is in.
        state: State,
        /// What was asked for: `cancelled`, `retried`, `deleted`.
        action: &'static str,
    },
    /// The cursor was not made by this list.
    #[error("the cursor is not one that this list made")]
    BadCursor,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker failed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}
