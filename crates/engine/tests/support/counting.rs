//! A handler that counts how many of its runs are under way, and engines that share it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gristmill_common::{
    Body, Clock, JobId, Tenant, Timestamp,
    job::{Backoff, Gates, Job, JobKey, NewJob},
};
use gristmill_engine::{Engine, EngineConfig, Scheduler, SchedulerConfig, Worker, WorkerConfig};
use gristmill_handlers::{Context, HandlerError, JobHandler, Registry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Rig, registry};

/// Runs for so long, and counts itself by name.
#[derive(Clone)]
pub struct Count {
    clock: Clock,
    names: Arc<Mutex<BTreeMap<String, Counted>>>,
}

/// What was counted under one name.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    pub running: usize,
    pub most: usize,
    /// When each run began, by the engine's clock.
    pub starts: Vec<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    pub name: String,
    pub ms: u64,
    /// The first attempt that succeeds.
    #[serde(default)]
    pub until_attempt: u32,
}

/// A run under way; dropped when it ends, however it does.
struct Run<'a> {
    count: &'a Count,
    name: &'a str,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.count.locked().entry(self.name.to_owned()).or_default().running -= 1;
    }
}

impl Count {
    pub fn new(rig: &Rig) -> Self {
        Self { clock: rig.clock.clone(), names: Arc::default() }
    }

    pub fn of(&self, name: &str) -> Counted {
        self.locked().get(name).cloned().unwrap_or_default()
    }

    fn begin<'a>(&'a self, name: &'a str) -> Run<'a> {
        let mut names = self.locked();
        let counted = names.entry(name.to_owned()).or_default();
        counted.running += 1;
        counted.most = counted.most.max(counted.running);
        counted.starts.push(self.clock.now());
        Run { count: self, name }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Counted>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> Registry {
        registry().with(self.clone()).expect("distinct names")
    }
}

impl Counted {
    /// Fails if more began than a limit allows from this time on: `limit` at once, and one more for each interval that
    /// has passed. However late a run begins after it was let through, that bound holds.
    pub fn keeps_to(&self, since: Timestamp, limit: usize, interval: Duration) {
        let mut starts = self.starts.clone();
        starts.sort();
        for (before, start) in starts.iter().enumerate() {
            let passed = start.since(since).as_millis() / interval.as_millis();
            let allowed = limit + usize::try_from(passed).expect("a small number");
            assert!(before < allowed, "{} had begun after {:?}", before + 1, start.since(since));
        }
    }
}

impl JobHandler for Count {
    const NAME: &'static str = "count";
    const DESCRIPTION: &'static str = "Counts how many of it run.";
    type Input = Input;
    type Output = ();

    async fn run(&self, input: Input, context: Context) -> Result<(), HandlerError> {
        let _run = self.begin(&input.name);
        tokio::select! {
            () = context.cancelled() => return Err(HandlerError::cancelled()),
            () = tokio::time::sleep(Duration::from_millis(input.ms)) => {}
        }
        match context.attempt() < input.until_attempt {
            true => Err(HandlerError::retryable("not_yet", "on purpose")),
            false => Ok(()),
        }
    }
}

/// A job of type `count`, ready to be stored.
pub fn count_job(rig: &Rig, input: &Input, gates: Option<serde_json::Value>) -> NewJob {
    let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
    let gates: Option<Gates> = gates.map(|gates| serde_json::from_value(gates).expect("gates"));
    let job = Job::accepted(key, "count".parse().expect("a name"), rig.clock.now());
    let backoff = Backoff::None {};
    let job = Job { max_attempts: 20, timeout_ms: 60_000, backoff, gates: gates.map(Box::new), ..job };
    NewJob { job, payload: Body::Inline(json!(input).to_string().into()), text: None }
}

impl Rig {
    /// Stores jobs; the scheduler rings for them.
    pub async fn store_jobs(&self, jobs: Vec<NewJob>) -> Vec<JobKey> {
        let keys = jobs.iter().map(|new| new.job.key.clone()).collect();
        self.store.insert(jobs).await.expect("stored");
        keys
    }

    /// An engine of another process that has the counting handler.
    pub async fn counting_engine(&self, count: &Count) -> Engine {
        let (store, broker, clock) = (self.store.clone(), self.broker.clone(), self.clock.clone());
        let (config, shutdown) = (EngineConfig::default(), self.shutdown.clone());
        Engine::start(store, broker, count.registry(), clock, config, shutdown).await.expect("an engine")
    }

    /// Starts so many workers, each with an engine of its own, and a scheduler with another.
    pub async fn count_with(&self, count: &Count, workers: usize, config: WorkerConfig) {
        for _ in 0..workers {
            let worker = Worker::new(self.counting_engine(count).await, config.clone());
            tokio::spawn(async move { worker.run().await });
        }
        let tick = Duration::from_millis(20);
        let scheduler =
            Scheduler::new(self.counting_engine(count).await, SchedulerConfig { tick, ..Default::default() });
        tokio::spawn(async move { scheduler.run().await });
    }
}
