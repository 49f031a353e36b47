//! Writes of concurrent callers share commands: one is on its way, and what comes meanwhile gathers for the next.
//! An operation that is alone is sent at once. Callers that have just been answered together mostly come again
//! together: for them the next command waits a moment, until as many are there as last time.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::fault::Fault;
use crate::{StoreError, bounds::Bounds};

/// The most statements in one command.
const BATCH: usize = 500;
/// The most bytes of bodies in one command, give or take one operation. A command may have 16 MiB.
const BATCH_BYTES: usize = 4 << 20;

/// How long a command waits for those who were in the last one.
const GATHER: Duration = Duration::from_millis(2);

/// A kind of write that many callers may share.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What one caller wants written.
    type Item: Send + Sync + 'static;
    /// What it is told.
    type Answer: Send + 'static;

    /// The bytes of bodies that it brings.
    fn bytes(item: &Self::Item) -> usize;

    /// What two items of one command must not share; the later one waits for the next command.
    fn subject(item: &Self::Item) -> Option<String>;

    /// Carries the items out, in as few commands as can be, and answers each in its place; or fails for all.
    async fn carry_out(&self, items: Vec<Self::Item>) -> Result<Vec<Result<Self::Answer, Fault>>, Fault>;
}

/// Gathers one kind of writes.
pub(super) struct Batcher<W: Work> {
    shared: Arc<Shared<W>>,
    room: Arc<Semaphore>,
    byte_room: Arc<Semaphore>,
    bounds: Bounds,
}

struct Shared<W: Work> {
    work: W,
    kind: &'static str,
    queue: Mutex<Queue<W>>,
    gathered: Notify,
}

struct Queue<W: Work> {
    waiting: VecDeque<Pending<W>>,
    running: bool,
    /// How many the runner waits for.
    awaited: Option<usize>,
}

struct Pending<W: Work> {
    item: W::Item,
    reply: oneshot::Sender<Result<W::Answer, StoreError>>,
    _room: Arc<[OwnedSemaphorePermit; 2]>,
}

impl<W: Work> Batcher<W> {
    pub(super) fn new(kind: &'static str, work: W, bounds: Bounds) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), running: false, awaited: None });
        Self {
            shared: Arc::new(Shared { work, kind, queue, gathered: Notify::new() }),
            room: Arc::new(Semaphore::new(bounds.operations)),
            byte_room: Arc::new(Semaphore::new(bounds.bytes)),
            bounds,
        }
    }

    /// Writes items, and answers for each in its place. Once handed over they are written, even if the caller goes
    /// away.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when there is no room for them in time, and the first thing that one of them fails
    /// with.
    pub(super) async fn write(&self, items: Vec<W::Item>) -> Result<Vec<W::Answer>, StoreError> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let room = self.admit(items.len(), items.iter().map(W::bytes).sum()).await?;
        let mut answers = Vec::with_capacity(items.len());
        {
            let mut queue = self.shared.queue();
            for item in items {
                let (reply, answer) = oneshot::channel();
                queue.waiting.push_back(Pending { item, reply, _room: Arc::clone(&room) });
                answers.push(answer);
            }
            if queue.awaited.is_some_and(|number| queue.waiting.len() >= number) {
                self.shared.gathered.notify_one();
            }
            if !queue.running {
                queue.running = true;
                tokio::spawn(Runner(Arc::clone(&self.shared)).run());
            }
        }
        let mut outcomes = Vec::with_capacity(answers.len());
        for answer in answers {
            outcomes.push(answer.await.unwrap_or_else(|_| Err(stopped())));
        }
        outcomes.into_iter().collect()
    }

    async fn admit(&self, items: usize, bytes: usize) -> Result<Arc<[OwnedSemaphorePermit; 2]>, StoreError> {
        let take = |room: &Arc<Semaphore>, wanted: usize, most: usize| {
            let wanted = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
            Arc::clone(room).acquire_many_owned(wanted)
        };
        let admitted = tokio::time::timeout(self.bounds.patience, async {
            let items = take(&self.room, items, self.bounds.operations).await.map_err(|_| stopped())?;
            let bytes = take(&self.byte_room, bytes, self.bounds.bytes).await.map_err(|_| stopped())?;
            Ok(Arc::new([items, bytes]))
        });
        admitted.await.unwrap_or(Err(StoreError::Overloaded))
    }
}

impl<W: Work> Shared<W> {
    fn queue(&self) -> MutexGuard<'_, Queue<W>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment for as many as this.
    async fn gather(&self, number: usize) {
        let there = {
            let mut queue = self.queue();
            queue.awaited = Some(number);
            queue.waiting.len() >= number
        };
        if !there {
            let _ = tokio::time::timeout(GATHER, self.gathered.notified()).await;
        }
        self.queue().awaited = None;
    }

    /// What goes into the next command; when nothing waits, nobody runs any more.
    fn take(&self) -> Vec<Pending<W>> {
        let mut queue = self.queue();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let (mut subjects, mut later) = (HashSet::new(), VecDeque::new());
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some(pending) = queue.waiting.pop_front() else { break };
            if W::subject(&pending.item).is_none_or(|subject| subjects.insert(subject)) {
                bytes += W::bytes(&pending.item);
                batch.push(pending);
            } else {
                later.push_back(pending);
            }
        }
        later.append(&mut queue.waiting);
        queue.waiting = later;
        queue.running = !batch.is_empty();
        batch
    }
}

/// Sends one command after the other until nothing waits.
struct Runner<W: Work>(Arc<Shared<W>>);

impl<W: Work> Runner<W> {
    async fn run(self) {
        // Those who are ready to ask too come along.
        tokio::task::yield_now().await;
        loop {
            let batch = self.0.take();
            if batch.is_empty() {
                return;
            }
            let number = batch.len();
            metrics::histogram!("gristmill_store_batch_size", "kind" => self.0.kind).record(batch.len() as f64);
            let (items, replies): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|pending| (pending.item, (pending.reply, pending._room))).unzip();
            match self.0.work.carry_out(items).await {
                Ok(answers) => {
                    for ((reply, _room), answer) in replies.into_iter().zip(answers) {
                        // A caller that has gone away misses its answer; what it asked for is done all the same.
                        let _ = reply.send(answer.map_err(StoreError::from));
                    }
                }
                Err(fault) => {
                    let error = StoreError::from(fault);
                    for (reply, _room) in replies {
                        let _ = reply.send(Err(error.clone()));
                    }
                }
            }
            if number > 1 {
                self.0.gather(number.min(BATCH)).await;
            }
        }
    }
}

impl<W: Work> Drop for Runner<W> {
    /// A run that broke off must not stop the store: the next caller starts another.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.running = false;
            queue.waiting.clear();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::unavailable(std::io::Error::other("the store's writer broke off"))
}

#[cfg(test)]
mod tests;
