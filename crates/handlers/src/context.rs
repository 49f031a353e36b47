//! What a handler sees of its job while it runs.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use gristmill_common::{
    Clock, JobId, Tenant, Timestamp,
    breaker::Outcome,
    job::{MAX_ERROR_BYTES, Progress},
};
use tokio_util::sync::CancellationToken;

use crate::{HandlerError, guard::Guard};

/// The text of a job, chunk by chunk. A chunk may end within a character.
pub type TextStream = BoxStream<'static, Result<Bytes, HandlerError>>;

/// The text that was sent as the request's body.
pub struct Text {
    /// How long it is, in bytes.
    pub bytes: u64,
    /// The text itself.
    pub chunks: TextStream,
}

/// How many log lines may wait to be stored; further ones are dropped, and a line says so.
const MOST_WAITING_LINES: usize = 256;

/// Which job it is.
#[derive(Debug, Clone)]
pub struct JobInfo {
    /// Its id, the same over all attempts.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// The W3C `traceparent` of the request that made it.
    pub trace: Option<String>,
}

/// A handler's view of its job. Clones are the same view.
#[derive(Clone)]
pub struct Context {
    info: Arc<JobInfo>,
    clock: Clock,
    cancelled: CancellationToken,
    threads: usize,
    text: Arc<Mutex<Option<Text>>>,
    report: Arc<Mutex<Report>>,
    guard: Guard,
}

/// What a handler said since it was last asked.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// How far it has come, if it said so.
    pub progress: Option<Progress>,
    /// What it logged.
    pub lines: Vec<(Timestamp, String)>,
}

/// The other end of a context: where the worker fetches what the handler said.
#[derive(Clone)]
pub struct Reports(Arc<Mutex<Report>>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        let bytes = text.len() as u64;
        Self { bytes, chunks: stream::iter([Ok(Bytes::from(text))]).boxed() }
    }
}

impl Context {
    /// A context for one attempt, and where to fetch what is said in it. `cancelled` tells the handler to stop;
    /// `threads` is how many processors it may use.
    #[must_use]
    pub fn new(
        info: JobInfo,
        clock: Clock,
        cancelled: CancellationToken,
        threads: usize,
        text: Option<Text>,
    ) -> (Self, Reports) {
        let report = Arc::new(Mutex::new(Report::default()));
        let reports = Reports(report.clone());
        let text = Arc::new(Mutex::new(text));
        (Self { info: Arc::new(info), clock, cancelled, threads, text, report, guard: Guard::default() }, reports)
    }

    /// The same context, with a guard that it shares with others.
    pub(crate) fn guarded_by(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// The job's id: the same over all attempts.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.info.id
    }

    /// Whose job it is.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.info.tenant
    }

    /// Which attempt this is; the first is 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.info.attempt
    }

    /// The W3C `traceparent` of the request that made the job.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.info.trace.as_deref()
    }

    /// How many processors the handler may keep busy.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Says how far the job has come, in percent (above 100 counts as 100). Cheap: only the latest is stored, a
    /// few times a second.
    pub fn progress(&self, percent: u8, message: Option<&str>) {
        let message = message.map(|text| text[..text.floor_char_boundary(256)].to_owned());
        locked(&self.report).progress = Some(Progress { percent: percent.min(100), message });
    }

    /// Adds a line to the job's log: at most 4 KiB are kept.
    pub fn log(&self, message: impl AsRef<str>) {
        let message = message.as_ref();
        let mut report = locked(&self.report);
        let line = match report.lines.len() {
            0..MOST_WAITING_LINES => message[..message.floor_char_boundary(MAX_ERROR_BYTES)].to_owned(),
            MOST_WAITING_LINES => "(lines were dropped: they came faster than they could be stored)".to_owned(),
            _ => return,
        };
        report.lines.push((self.clock.now(), line));
    }

    /// Whether the handler should stop: the job was cancelled, its time is up, or its worker shuts down.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Waits until the handler should stop.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Makes a call to another system, unless that has failed five times in a row just now: then the call is not made,
    /// and the attempt fails with `host_unavailable`, to be made again when one call may try. `host` is whatever is away
    /// as a whole, such as `api.example.org:443`; all jobs of the process go by the same, for at most 256 hosts.
    ///
    /// A failure is an error that is retryable. A fatal one is an answer.
    ///
    /// ```
    /// # use gristmill_handlers::{Context, HandlerError};
    /// # async fn ask() -> Result<u64, std::io::Error> { Ok(1) }
    /// # async fn run(context: Context) -> Result<u64, HandlerError> {
    /// context.guarded("stock.example.org", async {
    ///     ask().await.map_err(|error| HandlerError::retryable("no_stock_level", error))
    /// }).await
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the call, and `host_unavailable`.
    pub async fn guarded<T>(
        &self,
        host: &str,
        call: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, HandlerError> {
        let asked = self.guard.ask(host, Instant::now()).map_err(|refused| {
            HandlerError::retryable("host_unavailable", format_args!("{host}: {refused}")).after(refused.wait)
        })?;
        let answer = call.await;
        asked.ended(match &answer {
            // It says as much of the host as a call that was broken off.
            Err(_) if self.is_cancelled() => Outcome::Unknown,
            Err(error) if error.retryable => Outcome::Failed,
            Ok(_) | Err(_) => Outcome::Answered,
        });
        answer
    }

    /// The text that was sent as the request's body, if it was; only the first call gets it.
    #[must_use]
    pub fn text(&self) -> Option<Text> {
        locked(&self.text).take()
    }
}

impl Reports {
    /// What was said since the last call.
    #[must_use]
    pub fn take(&self) -> Report {
        std::mem::take(&mut *locked(&self.0))
    }
}

/// A handler that panicked while it reported leaves a whole report behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> (Context, Reports) {
        let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
        Context::new(info, Clock::start(), CancellationToken::new(), 1, None)
    }

    #[test]
    fn only_the_latest_progress_counts() {
        let (context, reports) = context();
        context.progress(10, Some("first"));
        context.progress(250, None);
        assert_eq!(reports.take().progress, Some(Progress { percent: 100, message: None }));
        assert_eq!(reports.take(), Report::default());
    }

    #[test]
    fn a_flood_of_lines_is_bounded_and_says_so() {
        let (context, reports) = context();
        (0..10_000).for_each(|n| context.log(format!("line {n}")));
        let lines = reports.take().lines;
        assert_eq!(lines.len(), MOST_WAITING_LINES + 1);
        assert!(lines[MOST_WAITING_LINES].1.contains("dropped"));
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let (context, reports) = context();
        context.log("é".repeat(MAX_ERROR_BYTES));
        assert_eq!(reports.take().lines[0].1.len(), MAX_ERROR_BYTES);
    }
}
