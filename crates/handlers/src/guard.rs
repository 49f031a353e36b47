//! The breakers of what handlers call: one for each host, for all jobs of the process.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use gristmill_common::breaker::{Breakers, Outcome, Permit, Refused, Rule};

/// The most hosts that are kept in mind.
const MOST_HOSTS: usize = 256;

/// Breakers by host. Clones are the same.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Mutex<Breakers>>);

/// A call that is under way. When it is dropped without a word, it was broken off.
pub(crate) struct Asked<'a> {
    guard: &'a Guard,
    host: &'a str,
    permit: Option<Permit>,
}

impl Default for Guard {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Breakers::new(Rule::default(), MOST_HOSTS))))
    }
}

impl Guard {
    /// Asks whether the host may be called.
    ///
    /// # Errors
    /// Not now.
    pub(crate) fn ask<'a>(&'a self, host: &'a str, now: Instant) -> Result<Asked<'a>, Refused> {
        let permit = self.with(|breakers| breakers.admit(host, now))?;
        Ok(Asked { guard: self, host, permit: Some(permit) })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Breakers) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Asked<'_> {
    /// Says what became of it.
    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            self.guard.with(|breakers| breakers.hear(self.host, permit, outcome, Instant::now()));
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.tell(Outcome::Unknown);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use bytes::Bytes;
    use futures::FutureExt;
    use gristmill_common::{Clock, JobId, Tenant};
    use tokio_util::sync::CancellationToken;

    use crate::{Context, Handler, HandlerError, JobHandler, JobInfo, Registry};

    fn context() -> Context {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
        Context::new(info, Clock::start(), CancellationToken::new(), 1, None).0
    }

    async fn fails(context: &Context, host: &str) -> HandlerError {
        let call = async { Err::<(), _>(HandlerError::retryable("refused", "no")) };
        context.guarded(host, call).await.expect_err("it fails")
    }

    #[tokio::test]
    async fn a_host_that_fails_is_left_alone_and_another_is_not() {
        let context = context();
        for _ in 0..5 {
            assert_eq!(fails(&context, "a").await.code, "refused");
        }
        let refused = context.guarded("a", async { Ok(()) }).await.expect_err("left alone");
        assert_eq!((refused.code.as_str(), refused.retryable), ("host_unavailable", true));
        assert!(refused.min_delay > Duration::ZERO && refused.min_delay <= Duration::from_secs(1), "{refused:?}");
        assert_eq!(context.guarded("b", async { Ok(1) }).await, Ok(1));
    }

    #[tokio::test]
    async fn answers_and_calls_that_are_broken_off_are_no_failures() {
        let context = context();
        for _ in 0..10 {
            let fatal = async { Err::<(), _>(HandlerError::fatal("not_found", "no")) };
            assert_eq!(context.guarded("a", fatal).await.expect_err("an answer").code, "not_found");
            assert!(context.guarded("a", pending::<Result<(), _>>()).now_or_never().is_none());
        }
        assert_eq!(context.guarded("a", async { Ok(1) }).await, Ok(1));
    }

    /// Calls a host that always fails.
    struct Calls;

    impl JobHandler for Calls {
        const NAME: &'static str = "calls";
        const DESCRIPTION: &'static str = "";
        type Input = ();
        type Output = ();

        async fn run(&self, (): (), context: Context) -> Result<(), HandlerError> {
            Err(fails(&context, "a").await)
        }
    }

    #[tokio::test]
    async fn all_jobs_of_a_process_go_by_the_same_breakers() {
        let registry = Registry::default().with(Calls).expect("a new name");
        let run = async || {
            let handler: &Handler = registry.get(&"calls".parse().expect("a name")).expect("a handler");
            handler.run(Bytes::from_static(b"null"), context()).await.expect_err("it fails").code
        };
        for _ in 0..5 {
            assert_eq!(run().await, "refused");
        }
        assert_eq!(run().await, "host_unavailable");
    }
}
