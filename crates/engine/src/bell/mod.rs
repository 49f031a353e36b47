//! The bell: publishes dispatches for jobs that may run at once, and marks those that nobody has answered, so
//! that they are rung again later and not before.
//!
//! A submitter rings for its jobs itself while they are answered. Beyond what is answered in half a second, or some
//! hundred, it leaves them to the leading scheduler: so the broker holds no more than a window of a flood, and whoever
//! comes then does not wait for all of it.

mod unanswered;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_broker::{BrokerError, Published};
use gristmill_common::{
    QueueName, State, Timestamp,
    job::{Job, JobKey},
    message::Dispatch,
};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};

use crate::{Engine, board::WhoRings, trouble::Trouble, usecases::submit::RING_GRACE};
use unanswered::{ALLOWED_ALONE, ALWAYS_ALLOWED, Overdue, Unanswered};

/// How many dispatches of a queue may wait to be published; what is over is left to the scheduler.
const MOST_WAITING: usize = 10_000;
/// How many dispatches go out together.
const BATCH: usize = 512;
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
    /// Rung when jobs are left to the leader, in case it is in this process.
    left_to_the_leader: Notify,
    /// The queues whose last dispatches the broker did not take.
    failing: Mutex<BTreeSet<QueueName>>,
    not_published: Trouble,
    not_marked: Trouble,
}

impl Bell {
    pub(crate) fn new() -> (Self, Rung) {
        let (publish, rung) = mpsc::channel(MOST_WAITING);
        let unanswered = Mutex::default();
        let (not_published, not_marked) = (Trouble::new(NOT_PUBLISHED), Trouble::new(NOT_MARKED));
        let (failing, left_to_the_leader) = (Mutex::default(), Notify::new());
        (Self { publish, unanswered, left_to_the_leader, failing, not_published, not_marked }, rung)
    }

    /// Whether a ring for this job, as it is now, is still unanswered.
    pub(crate) fn is_ringing(&self, job: &Job, now: Timestamp) -> bool {
        self.unanswered().is_ringing(job, now)
    }

    /// These were answered: a worker has claimed them.
    pub(crate) fn answered<'a>(&self, keys: impl Iterator<Item = &'a JobKey>) {
        self.unanswered().answered(keys, Instant::now());
    }

    /// There are jobs that the leader must ring for.
    pub(crate) fn leave_to_the_leader(&self) {
        self.left_to_the_leader.notify_one();
    }

    /// Waits until somebody in this process leaves jobs to the leader.
    pub(crate) async fn is_left_to_the_leader(&self) {
        self.left_to_the_leader.notified().await;
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

    fn unanswered(&self) -> MutexGuard<'_, Unanswered> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Decides who rings for a job that is about to be stored and may run at once: its submitter, which must do so
    /// then, or the leader, to whom the job's clock tells it.
    pub(crate) fn decide_who_rings(&self, job: &mut Job) {
        if job.state == State::Queued {
            job.wake_at = if self.rings_itself(job) { self.now() + RING_GRACE } else { job.created_at };
        }
    }

    /// Rings for a job that was stored, if that was decided.
    pub(crate) fn ring_as_decided(&self, job: &Job) {
        if job.state == State::Queued {
            let is_ours = job.wake_at > job.created_at;
            if is_ours { self.send_ring(job) } else { self.0.bell.leave_to_the_leader() }
        }
    }

    /// Rings for a job that may run at once again, or leaves it to the leader.
    pub(crate) fn ring_for(&self, job: &Job) {
        if job.state == State::Queued {
            if self.rings_itself(job) { self.send_ring(job) } else { self.0.bell.leave_to_the_leader() }
        }
    }

    /// Nobody waits for it; should the ring be lost, the scheduler rings when the job's clock says so.
    fn send_ring(&self, job: &Job) {
        if self.0.bell.publish.try_send((job.queue.clone(), Dispatch::of(job))).is_err() {
            self.0.bell.unanswered().forget(std::iter::once(&job.key));
        }
    }

    /// Whether a submitter rings for this job itself: not while its queue is paused, not while older jobs of its band
    /// wait for the leader, which a newcomer must not overtake, and not while too many rings are unanswered.
    fn rings_itself(&self, job: &Job) -> bool {
        let always = match self.who_rings_in(&job.queue, job.priority) {
            WhoRings::Leader => return false,
            WhoRings::Submitter => ALWAYS_ALLOWED,
            WhoRings::SubmitterAlone => ALLOWED_ALONE,
        };
        self.0.bell.unanswered().expect(job, always, Instant::now())
    }

    /// Publishes to one queue, and remembers what must be marked if nobody answers. Says how many the broker has
    /// taken.
    pub(crate) async fn publish(&self, queue: &QueueName, dispatches: Vec<Dispatch>) -> usize {
        // Remembered first: the answer may be faster than the confirm.
        self.0.bell.unanswered().remember(queue, &dispatches, Instant::now(), self.now());
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
        self.0.bell.unanswered().forget(refused.iter());
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
                if let Err(TrySendError::Full(dispatch) | TrySendError::Closed(dispatch)) = waiting.try_send(dispatch) {
                    self.0.bell.unanswered().forget(std::iter::once(&dispatch.key()));
                }
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
                let overdue = self.0.bell.unanswered().take_overdue(MARK_BATCH, Instant::now());
                if overdue.is_empty() {
                    break;
                }
                self.0.bell.not_marked.after(self.mark(overdue).await);
            }
        }
    }

    /// Marks those that still wait as they did when they were rung for; the others were answered.
    async fn mark(&self, overdue: Vec<Overdue>) -> Result<(), gristmill_storage::StoreError> {
        let keys: Vec<JobKey> = overdue.iter().map(|ring| ring.key.clone()).collect();
        let waiting = self.store().waiting(&keys).await?;
        let waiting: HashMap<&JobKey, &Job> = waiting.iter().map(|job| (&job.key, job)).collect();
        let (now, mut marks) = (self.now(), Vec::new());
        {
            let mut unanswered = self.0.bell.unanswered();
            for ring in &overdue {
                match waiting.get(&ring.key) {
                    // It waits to be published, or its submitter is gone: its clock says when it is rung again.
                    Some(_) if !ring.went_out() => {}
                    Some(job) if ring.is_for(job, now) => marks.extend(job.ring(now).ok()),
                    _ => unanswered.count_answer(&ring.band, Instant::now()),
                }
            }
        }
        if !marks.is_empty() {
            self.store().apply(marks).await?;
        }
        Ok(())
    }
}
