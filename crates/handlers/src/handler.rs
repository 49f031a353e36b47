//! The public extension point.

use std::{fmt, future::Future, time::Duration};

use gristmill_common::{Class, TypeDefaults};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::Context;

/// A job type: what it takes, what it gives, and how it works.
///
/// A job may be run more than once (its worker may die after the work and before the result is stored), so `run`
/// should be idempotent. `context.id()` stays the same over all attempts of a job: use it as a key outside.
pub trait JobHandler: Send + Sync + 'static {
    /// The job type: 1 to 64 characters of a-z, 0-9, `_`, `-` and `.`.
    const NAME: &'static str;
    /// What it does, in a sentence.
    const DESCRIPTION: &'static str;
    /// Whether it keeps a processor busy ([`Class::Cpu`]: it gets a thread of its own and may block) or mostly
    /// waits ([`Class::Io`]: it must not block).
    const CLASS: Class = Class::Io;
    /// Whether the payload's `text` may come as a `text/plain` body, streamed: then `context.text()` has it, and
    /// the payload comes without it. `Input` must have an optional `text`.
    const ACCEPTS_TEXT: bool = false;

    /// The payload. Its schema is what the API checks a submission against.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The result.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// What a job has when its submission says nothing else.
    fn defaults(&self) -> TypeDefaults {
        TypeDefaults::default()
    }

    /// Does the work of one attempt. It should stop soon once `context.cancelled()`, with
    /// [`HandlerError::cancelled`]; a panic fails the attempt and nothing else.
    fn run(
        &self,
        input: Self::Input,
        context: Context,
    ) -> impl Future<Output = Result<Self::Output, HandlerError>> + Send;
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerError {
    /// A stable snake_case word for programs.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// The least wait before another attempt.
    pub min_delay: Duration,
}

impl HandlerError {
    /// A failure that may pass: the job is tried again while it has attempts.
    pub fn retryable(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { code: code.into(), message: message.to_string(), retryable: true, min_delay: Duration::ZERO }
    }

    /// A failure that no other attempt can mend: the job becomes a dead letter at once.
    pub fn fatal(code: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { retryable: false, ..Self::retryable(code, message) }
    }

    /// It stopped because it was asked to.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::retryable("cancelled", "stopped on request")
    }

    /// Not before so long.
    #[must_use]
    pub fn after(self, min_delay: Duration) -> Self {
        Self { min_delay, ..self }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for HandlerError {}
