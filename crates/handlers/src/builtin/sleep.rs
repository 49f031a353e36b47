//! `sleep`: waits, and does nothing else.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Context, HandlerError, JobHandler};

/// Waits for as long as it is told to. For trying things out and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sleep;

/// The longest sleep: a day, in milliseconds.
const LONGEST: u64 = 86_400_000;

/// What `sleep` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// How long to sleep, in milliseconds: at most a day.
    #[schemars(range(max = 86_400_000))]
    ms: u64,
}

/// What `sleep` gives.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// How long it slept, in milliseconds.
    slept_ms: u64,
}

impl JobHandler for Sleep {
    const NAME: &'static str = "sleep";
    const DESCRIPTION: &'static str = "Waits for so many milliseconds.";

    type Input = Input;
    type Output = Output;

    async fn run(&self, Input { ms }: Input, context: Context) -> Result<Output, HandlerError> {
        if ms > LONGEST {
            return Err(HandlerError::fatal("invalid_payload", format_args!("`ms` must be at most {LONGEST}")));
        }
        // Zero is what benchmarks run: it must not cost a timer.
        if ms > 0 {
            tokio::select! {
                () = context.cancelled() => return Err(HandlerError::cancelled()),
                () = tokio::time::sleep(Duration::from_millis(ms)) => {}
            }
        }
        Ok(Output { slept_ms: ms })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt as _;
    use gristmill_common::{Clock, JobId, Tenant};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::JobInfo;

    fn context(cancelled: &CancellationToken) -> Context {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
        Context::new(info, Clock::start(), cancelled.clone(), 1, None).0
    }

    #[test]
    fn zero_needs_neither_a_timer_nor_a_runtime() {
        let done = Sleep.run(Input { ms: 0 }, context(&CancellationToken::new())).now_or_never();
        assert_eq!(done, Some(Ok(Output { slept_ms: 0 })));
    }

    #[tokio::test]
    async fn it_sleeps_at_least_so_long() {
        let start = Instant::now();
        let slept = Sleep.run(Input { ms: 20 }, context(&CancellationToken::new())).await;
        assert_eq!(slept, Ok(Output { slept_ms: 20 }));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn it_wakes_when_it_is_cancelled() {
        let cancelled = CancellationToken::new();
        let sleeping = tokio::spawn(Sleep.run(Input { ms: LONGEST }, context(&cancelled)));
        cancelled.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), sleeping).await.expect("it stops");
        assert_eq!(ended.expect("it does not panic"), Err(HandlerError::cancelled()));
    }

    #[tokio::test]
    async fn more_than_a_day_is_refused() {
        let error =
            Sleep.run(Input { ms: LONGEST + 1 }, context(&CancellationToken::new())).await.expect_err("too long");
        assert_eq!((error.code.as_str(), error.retryable), ("invalid_payload", false));
    }
}
