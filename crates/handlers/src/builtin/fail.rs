//! `fail`: fails on purpose.

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
}

/// What `fail` gives once it succeeds.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The attempt that succeeded; the first is 1.
    attempt: u32,
}

impl JobHandler for Fail {
    const NAME: &'static str = "fail";
    const DESCRIPTION: &'static str = "Fails, retryably, while the attempt is below `until_attempt`.";

    type Input = Input;
    type Output = Output;

    async fn run(&self, input: Input, context: Context) -> Result<Output, HandlerError> {
        let attempt = context.attempt();
        match input.until_attempt {
            Some(first) if attempt >= first => Ok(Output { attempt }),
            _ => Err(HandlerError::retryable("failed_on_purpose", input.message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{Clock, JobId, Tenant};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::JobInfo;

    async fn attempt(attempt: u32, until_attempt: Option<u32>) -> Result<Output, HandlerError> {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt, trace: None };
        let (context, _) = Context::new(info, Clock::start(), CancellationToken::new(), 1, None);
        Fail.run(Input { message: "no".into(), until_attempt }, context).await
    }

    #[tokio::test]
    async fn it_fails_retryably_until_its_attempt() {
        let failed = Err(HandlerError::retryable("failed_on_purpose", "no"));
        assert_eq!(attempt(1, None).await, failed);
        assert_eq!(attempt(1000, None).await, failed);
        assert_eq!(attempt(2, Some(3)).await, failed);
        assert_eq!(attempt(3, Some(3)).await, Ok(Output { attempt: 3 }));
        assert_eq!(attempt(4, Some(3)).await, Ok(Output { attempt: 4 }));
    }
}
