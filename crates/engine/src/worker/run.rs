//! Run: one attempt of one job, from its claim to its settle.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use gristmill_common::{
    Body, Class,
    job::{Failure, Job},
};
use gristmill_handlers::{Context, HandlerError, JobInfo, Text};
use gristmill_storage::{Claimed, StoreError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    Worker,
    held::{Hold, Stop},
    threads::Thread,
};

/// How long a handler that was told to stop may take before nobody waits for it any more.
const GRACE: Duration = Duration::from_secs(5);
/// How often a job that waits for a thread looks whether there will be one.
const LOOK_FOR_THREADS: Duration = Duration::from_millis(500);

/// How an attempt ended.
pub(super) enum Outcome {
    /// With a JSON result.
    Succeeded(Bytes),
    /// With an error.
    Failed(Failure),
    /// Unfinished, and not its fault: it is given back.
    GivenBack,
    /// Its lease is lost: it is somebody else's now.
    Lost,
}

type Work = Pin<Box<dyn Future<Output = Result<Bytes, Failure>> + Send>>;

impl Worker {
    /// Holds a claimed job, and runs it as soon as there is a slot.
    pub(super) fn start(&self, claimed: Claimed, until: Instant) {
        let Claimed { job, payload, text } = claimed;
        let Some(lease) = job.lease else { return };
        let job = Arc::new(job);
        let hold = (job.key.clone(), lease);
        let cancelled = self.0.held.hold(job.clone(), hold.clone(), until);
        let worker = self.clone();
        let span = span_of(&job);
        let life = async move {
            let slot = tokio::select! {
                biased;
                () = cancelled.cancelled() => None,
                slot = worker.0.slots.clone().acquire_owned() => Some(slot),
            };
            let outcome = match slot {
                Some(Ok(_slot)) => worker.run_in_slot(&job, &hold, payload, text, &cancelled).await,
                // The slots are closed: the worker drains.
                Some(Err(_)) => Outcome::GivenBack,
                None => worker.judge(&hold, None),
            };
            worker.settle(&job, outcome).await;
            worker.give_back_slot_of(&job);
            worker.0.held.release(&hold);
            worker.0.pace.finished_one();
            worker.0.room.notify_waiters();
        };
        tokio::spawn(life.instrument(span));
    }

    async fn run_in_slot(
        &self,
        job: &Job,
        hold: &Hold,
        payload: Body,
        text: Option<Body>,
        cancelled: &CancellationToken,
    ) -> Outcome {
        if job.deadline.is_some_and(|deadline| deadline <= self.0.engine.now()) {
            return Outcome::Failed(failure("deadline_exceeded", "its deadline passed before it could run", false));
        }
        let started = Instant::now();
        let outcome = self.attempt(job, hold, payload, text, cancelled).await;
        metrics::histogram!("gristmill_job_run_seconds").record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn attempt(
        &self,
        job: &Job,
        hold: &Hold,
        payload: Body,
        text: Option<Body>,
        cancelled: &CancellationToken,
    ) -> Outcome {
        let engine = &self.0.engine;
        let Some(handler) = engine.0.registry.get(&job.job_type).cloned() else {
            return Outcome::GivenBack;
        };
        let is_of_store = matches!(payload, Body::Blob(_));
        let payload = match engine.load_body(payload).await {
            Ok(payload) => {
                if is_of_store {
                    self.0.not_loaded.over();
                }
                payload
            }
            Err(error @ StoreError::Corrupt(_)) => {
                return Outcome::Failed(failure("payload_unreadable", &error.to_string(), false));
            }
            // The store's trouble is not the job's.
            Err(error) => {
                tracing::debug!(job.id = %job.key.id, "the payload could not be read");
                self.0.not_loaded.met(&error);
                return Outcome::GivenBack;
            }
        };
        if cancelled.is_cancelled() {
            return self.judge(hold, None);
        }
        let text = text.map(|body| Text {
            bytes: body.len(),
            chunks: engine
                .stream_body(body)
                .map_err(|error| HandlerError::retryable("store_unavailable", error))
                .boxed(),
        });
        let info =
            JobInfo { id: job.key.id, tenant: job.key.tenant.clone(), attempt: job.attempt, trace: job.trace.clone() };
        let clock = engine.clock().clone();
        let (context, reports) = Context::new(info, clock, cancelled.clone(), self.0.config.cpu_threads, text);
        let thread = match handler.class() {
            Class::Io => None,
            Class::Cpu => match self.thread(cancelled).await {
                Some(thread) => Some(thread),
                None if cancelled.is_cancelled() => return self.judge(hold, None),
                None => return Outcome::GivenBack,
            },
        };
        // The process may have been frozen since the claim.
        if !self.0.held.begins(hold, reports.clone()) {
            return Outcome::Lost;
        }
        let work = caught(async move { handler.run(payload, context).await });
        let work: Work = match thread {
            None => Box::pin(work),
            Some(thread) => Box::pin(async move {
                thread.run(work).await.unwrap_or_else(|broke_off| Err(failure("panic", &broke_off.to_string(), true)))
            }),
        };
        let outcome = self.see_through(job, hold, work, cancelled).await;
        self.store_last_lines(job, reports.take().lines).await;
        outcome
    }

    /// Waits for a thread: the attempt's time runs from when it has one. None when the job is told to stop, or when
    /// every thread is stuck: then others should have it.
    async fn thread(&self, cancelled: &CancellationToken) -> Option<Thread> {
        let threads = &self.0.threads;
        let mut one = std::pin::pin!(threads.one());
        loop {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => return None,
                thread = &mut one => return thread,
                () = tokio::time::sleep(LOOK_FOR_THREADS) => {}
            }
            threads.check().ok()?;
        }
    }

    /// Waits for the work, but not for ever: a handler that should stop, or whose time is up, gets a moment to do
    /// so.
    async fn see_through(&self, job: &Job, hold: &Hold, mut work: Work, cancelled: &CancellationToken) -> Outcome {
        let time_up = tokio::time::sleep(Duration::from_millis(job.timeout_ms));
        tokio::select! {
            done = &mut work => self.judge(hold, Some(done)),
            () = cancelled.cancelled() => {
                let done = timeout(GRACE, &mut work).await.ok();
                self.judge(hold, done)
            }
            () = time_up => {
                cancelled.cancel();
                let _ = timeout(GRACE, &mut work).await;
                let message = format!("the attempt took longer than {} ms", job.timeout_ms);
                Outcome::Failed(failure("timeout", &message, true))
            }
        }
    }

    /// How an attempt ended, from what its handler returned, if it did, and from why it was told to stop.
    fn judge(&self, hold: &Hold, done: Option<Result<Bytes, Failure>>) -> Outcome {
        match (done, self.0.held.stopped(hold)) {
            (_, Some(Stop::LeaseLost)) => Outcome::Lost,
            (Some(Ok(result)), _) => Outcome::Succeeded(result),
            (_, Some(Stop::Draining)) => Outcome::GivenBack,
            (Some(Err(failure)), _) => Outcome::Failed(failure),
            (None, _) => Outcome::Failed(failure("not_stopped", "it was stopped before its handler returned", true)),
        }
    }
}

/// What is logged of a job whose request belonged to a trace names that trace.
fn span_of(job: &Job) -> tracing::Span {
    // The second part of a `traceparent` is the trace's id (W3C Trace Context, section 3.2.2).
    match job.trace.as_deref().and_then(|parent| parent.split('-').nth(1)) {
        Some(trace) => tracing::info_span!("job", trace.id = trace),
        None => tracing::Span::none(),
    }
}

/// A panic fails the attempt and nothing else.
async fn caught(work: impl Future<Output = Result<Bytes, HandlerError>>) -> Result<Bytes, Failure> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done.map_err(|error| Failure {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            min_delay: error.min_delay,
        }),
        Err(panic) => Err(failure("panic", &panic_message(&*panic), true)),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

pub(super) fn failure(code: &str, message: &str, retryable: bool) -> Failure {
    Failure { code: code.into(), message: message.into(), retryable, min_delay: Duration::ZERO }
}
