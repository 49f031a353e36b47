//! The rig's job type, and who sees its handlers run, and its jobs being claimed: when, and on which worker.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{JobId, LeaseId, WorkerId};
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

/// One claim of a job, whether it came to something or not.
#[derive(Debug, Clone)]
pub(crate) struct Claiming {
    /// Which job.
    pub(crate) job: JobId,
    /// Under which lease.
    pub(crate) lease: LeaseId,
    /// When the lease's term began: what the job had to pass before it was passed after this.
    pub(crate) began: Instant,
    /// When the store was asked: what the job had to pass was passed by then.
    pub(crate) asked: Instant,
    /// Whether the store is known to have granted it.
    pub(crate) got: bool,
}

/// What was seen in one schedule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Every run, by its number.
    pub(crate) runs: Vec<Run>,
    /// Every claim, the earliest first.
    pub(crate) claims: Vec<Claiming>,
    /// Until when every clock went as clocks do. None if one was set before.
    pub(crate) calm_until: Option<Instant>,
}

/// Sees all that there is to see in a schedule. Clones are the same witness.
#[derive(Debug, Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

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
    /// Which submission this is.
    #[serde(default)]
    pub(crate) mark: u64,
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
    /// What was seen until now.
    pub(crate) fn seen_so_far(&self) -> Seen {
        self.seen().clone()
    }

    /// From now on clocks are set, or have been set before.
    pub(crate) fn calm_until(&self, until: Option<Instant>) {
        self.seen().calm_until = until;
    }

    /// Claims are about to be asked for, under a lease whose term began then.
    pub(crate) fn asks_for(&self, jobs: impl Iterator<Item = JobId>, lease: LeaseId, began: Instant) {
        let asked = Instant::now();
        self.seen().claims.extend(jobs.map(|job| Claiming { job, lease, began, asked, got: false }));
    }

    /// This one was granted.
    pub(crate) fn got(&self, job: JobId, lease: LeaseId) {
        let mut seen = self.seen();
        if let Some(claim) = seen.claims.iter_mut().rev().find(|claim| (claim.job, claim.lease) == (job, lease)) {
            claim.got = true;
        }
    }

    fn begin(&self, job: JobId, worker: WorkerId) -> Running<'_> {
        let mut seen = self.seen();
        seen.runs.push(Run { job, worker, began: Instant::now(), ended: None });
        Running { witness: self, number: seen.runs.len() - 1 }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.witness.seen().runs[self.number].ended = Some(Instant::now());
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
