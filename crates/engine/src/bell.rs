//! The bell: publishes dispatches for jobs that may run at once, and marks those that nobody has answered, so
//! that they are rung again later and not before.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_broker::{BrokerError, Published};
use gristmill_common::{
    QueueName, State,
    job::{Job, JobKey},
    message::Dispatch,
};
use tokio::sync::mpsc;

use crate::{Engine, trouble::Trouble};

/// How many dispatches of a queue may wait to be published; what is over is left to the scheduler.
const MOST_WAITING: usize = 10_000;
/// How many dispatches go out together.
const BATCH: usize = 512;
/// How many unanswered rings are remembered; what is over is rung again a little early.
const MOST_REMEMBERED: usize = 100_000;
/// A job that is still queued so long after its ring is marked.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// How often the unanswered are looked at.
const MARK_EVERY: Duration = Duration::from_millis(250);
/// How many are marked in one write.
const MARK_BATCH: usize = 1_000;

const NOT_PUBLISHED: &str = "dispatches were not published; they will be rung again";
const NOT_MARKED: &str = "rings could not be marked; these jobs are rung again a little early";

pub(crate) type Rung = mpsc::Receiver<(QueueName, Dispatch)>;

/// What was rung, and not yet answered as far as this process knows.
pub(crate) struct Bell {
    publish: mpsc::Sender<(QueueName, Dispatch)>,
    unanswered: Mutex<Unanswered>,
    /// The queues whose last dispatches the broker did not take.
    failing: Mutex<BTreeSet<QueueName>>,
    not_published: Trouble,
    not_marked: Trouble,
}

#[derive(Default)]
struct Unanswered {
    /// By job: how often it had been claimed when it was rung.
    claims: HashMap<JobKey, u32>,
    /// In the order of the rings.
    order: VecDeque<(Instant, JobKey)>,
}

impl Bell {
    pub(crate) fn new() -> (Self, Rung) {
        let (publish, rung) = mpsc::channel(MOST_WAITING);
        let unanswered = Mutex::default();
        let (not_published, not_marked) = (Trouble::new(NOT_PUBLISHED), Trouble::new(NOT_MARKED));
        (Self { publish, unanswered, failing: Mutex::default(), not_published, not_marked }, rung)
    }

    /// Whether a ring for this job is still unanswered.
    pub(crate) fn is_ringing(&self, key: &JobKey) -> bool {
        self.unanswered().claims.contains_key(key)
    }

    /// These were answered: a worker of this process has claimed them.
    pub(crate) fn answered<'a>(&self, keys: impl Iterator<Item = &'a JobKey>) {
        let mut unanswered = self.unanswered();
        for key in keys {
            unanswered.claims.remove(key);
        }
    }

    /// Says what became of dispatches. One queue's trouble is not over because another's are taken.
    fn after_publishing(
        &self,
        queue: &QueueName,
        outcomes: Result<Vec<Published>, BrokerError>,
    ) -> Option<Vec<Published>> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match outcomes {
            Ok(outcomes) => {
                failing.remove(queue);
                if failing.is_empty() {
                    self.not_published.over();
                }
                Some(outcomes)
            }
            Err(error) => {
                failing.insert(queue.clone());
                self.not_published.met(&error);
                None
            }
        }
    }

    fn remember(&self, dispatches: impl Iterator<Item = Dispatch>) {
        let now = Instant::now();
        let mut unanswered = self.unanswered();
        for dispatch in dispatches {
            if unanswered.order.len() >= MOST_REMEMBERED {
                return;
            }
            let key = dispatch.key();
            unanswered.claims.insert(key.clone(), dispatch.claims);
            unanswered.order.push_back((now, key));
        }
    }

    /// The jobs rung so long ago that they should have been claimed.
    fn take_overdue(&self) -> Vec<(JobKey, u32)> {
        let mut unanswered = self.unanswered();
        let mut overdue = Vec::new();
        while overdue.len() < MARK_BATCH
            && unanswered.order.front().is_some_and(|(rung, _)| rung.elapsed() >= ANSWER_TIME)
        {
            let Some((_, key)) = unanswered.order.pop_front() else { break };
            if let Some(claims) = unanswered.claims.remove(&key) {
                overdue.push((key, claims));
            }
        }
        overdue
    }

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Rings for a job that may run at once, if it is for the submitter to ring. Nobody waits for it; should the
    /// ring be lost, the scheduler rings when the job's clock says so.
    pub(crate) fn ring_for(&self, job: &Job) {
        if job.state == State::Queued && self.rings_itself(&job.queue, job.priority) {
            let _ = self.0.bell.publish.try_send((job.queue.clone(), Dispatch::of(job)));
        }
    }

    /// Publishes to one queue, and remembers what must be marked if nobody answers. Says how many the broker has
    /// taken.
    pub(crate) async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> usize {
        // Remembered first: the answer may be faster than the confirm.
        self.0.bell.remember(dispatches.iter().cloned());
        let outcomes = self.broker().publish(queue, dispatches.clone()).await;
        let outcomes = self.0.bell.after_publishing(queue, outcomes);
        let outcomes = outcomes.unwrap_or_else(|| vec![Published::Refused; dispatches.len()]);
        let refused = dispatches
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == Published::Refused)
            .map(|(dispatch, _)| dispatch.key())
            .collect::<Vec<_>>();
        // A job that was refused keeps its clock, and is rung when that says so.
        self.0.bell.answered(refused.iter());
        let confirmed = outcomes.len() - refused.len();
        metrics::counter!("gristmill_dispatches_published_total").increment(confirmed as u64);
        metrics::counter!("gristmill_dispatches_refused_total").increment(refused.len() as u64);
        confirmed
    }

    /// Publishes what is rung, each queue by itself: one that the broker does not take holds up no other.
    pub(crate) async fn publish_what_is_rung(self, mut rung: Rung) {
        let mut queues: HashMap<QueueName, mpsc::Sender<Dispatch>> = HashMap::new();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                received = rung.recv_many(&mut batch, BATCH) => if received == 0 { return },
            }
            for (queue, dispatch) in batch.drain(..) {
                let waiting = queues.entry(queue).or_insert_with_key(|queue| {
                    let (sender, waiting) = mpsc::channel(MOST_WAITING);
                    tokio::spawn(self.clone().publish_to(queue.clone(), waiting));
                    sender
                });
                let _ = waiting.try_send(dispatch);
            }
        }
    }

    async fn publish_to(self, queue: QueueName, mut waiting: mpsc::Receiver<Dispatch>) {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                received = waiting.recv_many(&mut batch, BATCH) => if received == 0 { return },
            }
            self.publish(&queue, batch).await;
        }
    }

    pub(crate) async fn mark_what_was_rung(self) {
        while !self.sleeps_through(MARK_EVERY).await {
            loop {
                let overdue = self.0.bell.take_overdue();
                if overdue.is_empty() {
                    break;
                }
                self.0.bell.not_marked.after(self.mark(&overdue).await);
            }
        }
    }

    async fn mark(&self, rung: &[(JobKey, u32)]) -> Result<(), gristmill_storage::StoreError> {
        let claims: HashMap<&JobKey, u32> = rung.iter().map(|(key, claims)| (key, *claims)).collect();
        let keys: Vec<JobKey> = rung.iter().map(|(key, _)| key.clone()).collect();
        let now = self.now();
        let marks: Vec<_> = self
            .store()
            .waiting(&keys)
            .await?
            .iter()
            .filter(|job| claims.get(&job.key) == Some(&job.claims))
            .filter_map(|job| job.ring(now).ok())
            .collect();
        if !marks.is_empty() {
            self.store().apply(marks).await?;
        }
        Ok(())
    }
}
