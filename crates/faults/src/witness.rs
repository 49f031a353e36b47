//! The rig's job type, and who sees its handlers run: when, on which worker, and how that ended.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{JobId, WorkerId};
use gristmill_handlers::{Context, HandlerError, JobHandler};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One run of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Which job.
    pub(crate) job: JobId,
    /// On which worker.
    pub(crate) worker: WorkerId,
    /// When it began.
    pub(crate) began: Instant,
    /// When it ended; `None` while it runs.
    pub(crate) ended: Option<Instant>,
}

/// Sees all runs of a schedule. Clones are the same witness.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Vec<Run>>>);

/// The rig's handler, on one worker.
pub(crate) struct Act {
    pub(crate) witness: Witness,
    /// Whose handler it is; known once the worker is made.
    pub(crate) worker: Arc<OnceLock<WorkerId>>,
}

/// What `act` does.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// For how long, in milliseconds.
    pub(crate) ms: u64,
    /// It fails before this attempt.
    #[serde(default)]
    pub(crate) fails_before: u32,
    /// When it fails, it fails for good.
    #[serde(default)]
    pub(crate) for_good: bool,
}

/// What `act` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Done {
    /// The number of the run.
    run: usize,
}

/// A run that goes on; noted as ended when it is dropped, as when its node is killed.
struct Running<'a> {
    witness: &'a Witness,
    number: usize,
}

impl Witness {
    /// Every run, by its number.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.seen().clone()
    }

    fn begin(&self, job: JobId, worker: WorkerId) -> Running<'_> {
        let mut seen = self.seen();
        seen.push(Run { job, worker, began: Instant::now(), ended: None });
        Running { witness: self, number: seen.len() - 1 }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.witness.seen()[self.number].ended = Some(Instant::now());
    }
}

impl JobHandler for Act {
    const NAME: &'static str = "act";
    const DESCRIPTION: &'static str = "Does what the fault suite wants, and is seen doing it.";
    type Input = Part;
    type Output = Done;

    async fn run(&self, part: Part, context: Context) -> Result<Done, HandlerError> {
        let Some(&worker) = self.worker.get() else {
            return Err(HandlerError::retryable("no_worker", "the worker is not known yet"));
        };
        let running = self.witness.begin(context.id(), worker);
        if part.ms > 0 {
            context.progress(50, None);
            tokio::select! {
                () = context.cancelled() => return Err(HandlerError::cancelled()),
                () = tokio::time::sleep(Duration::from_millis(part.ms)) => {}
            }
        }
        if context.attempt() >= part.fails_before {
            return Ok(Done { run: running.number });
        }
        let message = format!("run {}", running.number);
        Err(if part.for_good {
            HandlerError::fatal("on_purpose", message)
        } else {
            HandlerError::retryable("on_purpose", message)
        })
    }
}
