//! What can go wrong with a use case.

use gristmill_broker::BrokerError;
use gristmill_common::{State, TypeName, http::FieldError};
use gristmill_storage::StoreError;

/// A use case could not be carried out. Nothing was changed, unless [`StoreError`] says otherwise.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// Fields of the request make no sense.
    #[error("the request has {} invalid field(s)", .0.len())]
    Invalid(Vec<FieldError>),
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
    /// There is no such job.
    #[error("there is no such job")]
    NoSuchJob,
    /// There is no such queue.
    #[error("there is no such queue")]
    NoSuchQueue,
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
