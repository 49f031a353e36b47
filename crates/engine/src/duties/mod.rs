//! What the leading scheduler sees to, one duty a file. Each reads a bounded range of an index and acts by
//! compare-and-set, so two leaders at once do no harm: leadership only saves work.

mod cron;
mod deadlines;
mod due;
mod gauges;
mod keys;
mod lead;
mod purge;
mod rates;
mod redispatch;
mod registers;
mod rescue;
mod slots;
mod sweep;
mod turns;
mod window;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use gristmill_common::{
    State, Timestamp, WorkerId,
    job::{Change, Job},
    message::JobEvent,
};
use gristmill_storage::{RegisterKey, StoreError};

pub use lead::Lead;

use crate::{Engine, trouble::Trouble};

/// How many jobs a duty takes at a time.
const BATCH: usize = 500;
/// How many such batches it takes in one tick: then it is another duty's turn.
const BATCHES_A_TICK: usize = 20;

/// How a scheduler works.
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// How often the duties are seen to.
    pub tick: Duration,
    /// How long the lead holds without being renewed.
    pub leader_lease: Duration,
    /// How long a worker's lease holds without a heartbeat: nothing is rescued before the store has been within
    /// reach for so long.
    pub lease: Duration,
    /// Whether it asks before it leads.
    pub lead: Lead,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(500),
            leader_lease: Duration::from_secs(5),
            lease: Duration::from_secs(10),
            lead: Lead::default(),
        }
    }
}

/// A scheduler: sees to the duties while it leads.
pub struct Scheduler {
    engine: Engine,
    config: SchedulerConfig,
    lead: Arc<lead::Leadership>,
    /// Whoever submitted before this moment is gone, and will not ring.
    alone_since: OnceLock<Timestamp>,
    duties: Duties,
    left_alone: registers::LeftAlone,
    /// After which register that is due the last tick had no more time.
    registers_left_off: Mutex<Option<(Timestamp, RegisterKey)>>,
    suspects: slots::Suspects,
    not_leading: Trouble,
    not_fed: Trouble,
    no_depth: Trouble,
    not_gauged: Trouble,
}

/// What is counted and complained of, duty by duty.
struct Duties {
    due: Duty,
    deadlines: Duty,
    rescue: Duty,
    registers: Duty,
    purge: Duty,
    sweep: Duty,
}

struct Duty {
    name: &'static str,
    trouble: Trouble,
}

impl Default for Duties {
    fn default() -> Self {
        let duty = |name, trouble| Duty { name, trouble: Trouble::new(trouble) };
        Self {
            due: duty("due", "jobs that are due were not queued; trying again"),
            deadlines: duty("deadlines", "overdue jobs were not ended; trying again"),
            rescue: duty("rescue", "jobs of lost workers were not rescued; trying again"),
            registers: duty("registers", "schedules, slots and keys that are due were not seen to; trying again"),
            purge: duty("purge", "old jobs were not erased; trying again"),
            sweep: duty("sweep", "leftovers were not swept; trying again"),
        }
    }
}

impl Scheduler {
    /// Makes a scheduler with a fresh id.
    #[must_use]
    pub fn new(engine: Engine, config: SchedulerConfig) -> Self {
        Self {
            engine,
            config,
            lead: Arc::new(lead::Leadership::new(WorkerId::fresh())),
            alone_since: OnceLock::new(),
            duties: Duties::default(),
            left_alone: registers::LeftAlone::default(),
            registers_left_off: Mutex::default(),
            suspects: slots::Suspects::default(),
            not_leading: Trouble::new("the lead could not be renewed; trying again"),
            not_fed: Trouble::new("the broker was not fed; trying again"),
            no_depth: Trouble::new("the broker does not say what waits; trying again"),
            not_gauged: Trouble::new("queues could not be counted; trying again"),
        }
    }

    /// Works until the engine's shutdown.
    pub async fn run(&self) {
        tokio::join!(
            self.keep_the_lead(),
            self.feed_the_broker(),
            self.see_to_duties(),
            self.rescue_whom_workers_lost(),
            self.look_after_registers(),
            self.clean_up(),
            self.gauge_queues()
        );
        self.resign().await;
    }

    /// Gives back every running job at once: right after a process has started that owns its store alone, so
    /// that whoever ran them is gone, and so is whoever was about to ring for a queued one.
    ///
    /// # Errors
    /// The store could not be read or written.
    pub async fn rescue_what_ran_before(&self) -> Result<usize, StoreError> {
        self.alone_since.get_or_init(|| self.engine.now());
        let mut all = 0;
        loop {
            match self.rescue_expired(Timestamp::MAX).await? {
                0 => return Ok(all),
                rescued => all += rescued,
            }
        }
    }

    /// What jobs wait for.
    async fn see_to_duties(&self) {
        while self.next_tick().await {
            let now = self.engine.now();
            self.see_to(&self.duties.due, self.queue_what_is_due(now)).await;
            self.see_to(&self.duties.deadlines, self.expire_what_is_overdue(now)).await;
        }
    }

    /// Beside the other duties, however much these have to do: jobs of a lost worker run again soon after their
    /// lease has ended.
    async fn rescue_whom_workers_lost(&self) {
        let clock = self.engine.clock();
        let mut steps = clock.steps();
        while self.next_tick().await {
            let now = self.engine.now();
            let steps_by_now = clock.steps();
            if steps_by_now != steps {
                // Workers have renewed by the clock as it was, and need a lease's time to see that it was set.
                self.lead.lost_the_store();
                steps = steps_by_now;
            }
            if self.lead.reached_store_for() >= self.config.lease {
                self.see_to(&self.duties.rescue, self.rescue_expired(now)).await;
            }
        }
    }

    /// Schedules that fire, and what dead workers and ended jobs left behind of slots and keys.
    async fn look_after_registers(&self) {
        while self.next_tick().await {
            self.see_to(&self.duties.registers, self.see_to_registers()).await;
        }
    }

    /// What nobody waits for.
    async fn clean_up(&self) {
        while self.next_tick().await {
            let now = self.engine.now();
            self.see_to(&self.duties.purge, self.purge_what_is_old(now)).await;
            self.see_to(&self.duties.sweep, self.sweep_leftovers(now)).await;
        }
    }

    /// Waits until it is time to work, and this scheduler leads; `false` when the process stops.
    async fn next_tick(&self) -> bool {
        while !self.engine.sleeps_through(self.config.tick).await {
            if self.lead.is_leading() {
                return true;
            }
        }
        false
    }

    async fn see_to(&self, duty: &Duty, work: impl Future<Output = Result<usize, StoreError>>) {
        let began = Instant::now();
        let done = duty.trouble.after(work.await);
        metrics::histogram!("gristmill_duty_seconds", "duty" => duty.name).record(began.elapsed().as_secs_f64());
        if let Some(jobs) = done.filter(|&jobs| jobs > 0) {
            metrics::counter!("gristmill_duty_jobs_total", "duty" => duty.name).increment(jobs as u64);
        }
    }

    /// Waits for a call of the store, and notes when it fails or is slow: then it may have held up heartbeats as
    /// well, and their leases did not end by their workers' fault.
    async fn asked<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let began = Instant::now();
        let outcome = call.await;
        // What cannot be read is an answer all the same.
        let failed = outcome.as_ref().is_err_and(|error| !matches!(error, StoreError::Corrupt(_)));
        if failed || began.elapsed() > self.config.lease / 3 {
            self.lead.lost_the_store();
        }
        outcome
    }

    /// Applies what was decided on jobs as they were read, and tells of those that changed, which it returns.
    async fn apply_and_tell(&self, changes: Vec<Change>) -> Result<Vec<Job>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let changed: Vec<Job> = self.asked(self.engine.store().apply(changes)).await?.into_iter().flatten().collect();
        for job in &changed {
            if job.state.is_terminal() {
                self.engine.tell(job);
            } else {
                self.engine.broker().announce(JobEvent::new(&job.key, job.state));
            }
        }
        if changed.iter().any(|job| job.state == State::Queued) {
            self.engine.0.bell.leave_to_the_leader();
        }
        Ok(changed)
    }
}
