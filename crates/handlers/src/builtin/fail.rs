//! `fail`: fails on purpose.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Context, HandlerError, JobHandler};

/// Fails, always or until a given attempt. For trying things out and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fail;

/// What `fail` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What the error says.
    message: String,
    /// The first attempt that succeeds; without it none does.
    until_attempt: Option<u32>,
    /// Whether the error says that another attempt may help; without it, it does.
    retryable: Option<bool>,
    /// The least wait before another attempt that the error asks for, in milliseconds; none without it.
    min_delay_ms: Option<u64>,
}

/// What `fail` gives once it succeeds.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The attempt that succeeded; the first is 1.
    attempt: u32,
}

impl JobHandler for Fail {
    const NAME: &'static str = "fail";
    const DESCRIPTION: &'static str =
        "Fails while the attempt is below `until_attempt`; retryably, unless `retryable` is false.";

    type Input = Input;
    type Output = Output;

    async fn run(&self, input: Input, context: Context) -> Result<Output, HandlerError> {
        let attempt = context.attempt();
        match input.until_attempt {
            Some(first) if attempt >= first => Ok(Output { attempt }),
            _ => Err(HandlerError {
                code: "failed_on_purpose".into(),
                message: input.message,
                retryable: input.retryable.unwrap_or(true),
                min_delay: Duration::from_millis(input.min_delay_ms.unwrap_or(0)),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{Clock, JobId, Tenant};
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::JobInfo;

    async fn attempt(attempt: u32, input: serde_json::Value) -> Result<Output, HandlerError> {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt, trace: None };
        let (context, _) = Context::new(info, Clock::start(), CancellationToken::new(), 1, None);
        Fail.run(serde_json::from_value(input).expect("an input"), context).await
    }

    #[tokio::test]
    async fn it_fails_retryably_until_its_attempt() {
        let failed = Err(HandlerError::retryable("failed_on_purpose", "no"));
        assert_eq!(attempt(1, json!({"message": "no"})).await, failed);
        assert_eq!(attempt(1000, json!({"message": "no"})).await, failed);
        assert_eq!(attempt(2, json!({"message": "no", "until_attempt": 3})).await, failed);
        assert_eq!(attempt(3, json!({"message": "no", "until_attempt": 3})).await, Ok(Output { attempt: 3 }));
        assert_eq!(attempt(4, json!({"message": "no", "until_attempt": 3})).await, Ok(Output { attempt: 4 }));
    }

    #[tokio::test]
    async fn its_error_says_what_it_is_told_to() {
        let fatal = HandlerError::fatal("failed_on_purpose", "no");
        assert_eq!(attempt(1, json!({"message": "no", "retryable": false})).await, Err(fatal));
        let later = HandlerError::retryable("failed_on_purpose", "no").after(Duration::from_millis(700));
        assert_eq!(attempt(1, json!({"message": "no", "min_delay_ms": 700})).await, Err(later));
    }
}
