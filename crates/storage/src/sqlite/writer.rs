//! The one thread that writes: it takes what is waiting, carries each operation out in a savepoint of its own
//! within one transaction, commits, and only then answers. So a hundred callers share one sync of the disk.

use std::{sync::Arc, thread::JoinHandle, time::Instant};

use rusqlite::{Connection, ffi};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    checkpoint::Signal,
    counts::Counts,
    fault::{Fault, stop_if_the_disk_failed},
};
use crate::{StoreError, bounds::Bounds};

/// The most operations in one transaction.
const BATCH: usize = 1_000;
/// The most bytes of bodies in one transaction, give or take one operation.
const BATCH_BYTES: usize = 4 << 20;

/// The way to the writing thread. Dropping it waits until everything handed over has been written.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Operation>>>,
    room: Arc<Semaphore>,
    bounds: Bounds,
    thread: Option<JoinHandle<()>>,
}

/// What an operation works with.
pub(super) struct Session {
    /// The connection, within the transaction.
    pub(super) conn: Connection,
    /// How the operation changes the number of jobs.
    pub(super) counts: Counts,
}

/// Something to be carried out within a transaction and answered after it.
trait Operation: Send {
    fn bytes(&self) -> usize;
    fn run(&mut self, session: &mut Session) -> Result<(), Fault>;
    fn fail(&mut self, error: StoreError);
    /// Sends the outcome: of the operation, unless the transaction failed.
    fn answer(self: Box<Self>, transaction: &Result<(), StoreError>);
}

struct Pending<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Session) -> Result<T, Fault> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, session: &mut Session) -> Result<(), Fault> {
        if let Some(work) = self.work.take() {
            self.outcome = Some(Ok(work(session)?));
        }
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        self.outcome = Some(Err(error));
    }

    fn answer(mut self: Box<Self>, transaction: &Result<(), StoreError>) {
        let outcome = match (transaction, self.outcome.take()) {
            (Err(error), _) => Err(error.clone()),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => return,
        };
        // A caller that has gone away misses its answer; what it asked for is done all the same.
        let _ = self.reply.send(outcome);
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(conn: Connection, signal: Arc<Signal>, bounds: Bounds) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(bounds.operations);
        let session = Session { conn, counts: Counts::default() };
        let thread = std::thread::Builder::new()
            .name("store-write".into())
            .spawn(move || Loop { waiting, session, signal }.run())?;
        Ok(Self { queue: Some(queue), room: Arc::new(Semaphore::new(bounds.bytes)), bounds, thread: Some(thread) })
    }

    /// Whether the thread still takes operations.
    pub(super) fn is_running(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_closed())
    }

    /// Carries out an operation that brings so many bytes of bodies. Once handed over it runs whole, even if the
    /// caller goes away.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when there is no room for it in time, and whatever it or its transaction fails
    /// with.
    pub(super) async fn write<T, F>(&self, bytes: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Session) -> Result<T, Fault> + Send + 'static,
    {
        let (slot, room) = self.admit(bytes).await?;
        let (reply, outcome) = oneshot::channel();
        slot.send(Box::new(Pending { work: Some(work), outcome: None, reply, bytes, _room: room }));
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn admit(
        &self,
        bytes: usize,
    ) -> Result<(mpsc::Permit<'_, Box<dyn Operation>>, OwnedSemaphorePermit), StoreError> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let bytes = u32::try_from(bytes.min(self.bounds.bytes)).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes)
            && let Ok(slot) = queue.try_reserve()
        {
            return Ok((slot, room));
        }
        let admitted = tokio::time::timeout(self.bounds.patience, async {
            let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| stopped())?;
            let slot = queue.reserve().await.map_err(|_| stopped())?;
            Ok((slot, room))
        });
        admitted.await.unwrap_or(Err(StoreError::Overloaded))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the store's writer had panicked");
        }
    }
}

fn stopped() -> StoreError {
    StoreError::unavailable(std::io::Error::other("the store's writer has stopped"))
}

struct Loop {
    waiting: mpsc::Receiver<Box<dyn Operation>>,
    session: Session,
    signal: Arc<Signal>,
}

impl Loop {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(first) = self.waiting.blocking_recv() {
            // What waits goes along; nothing waits for more to come.
            let mut bytes = first.bytes();
            batch.push(first);
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(next) = self.waiting.try_recv() else { break };
                bytes += next.bytes();
                batch.push(next);
            }
            metrics::histogram!("gristmill_store_batch_size").record(batch.len() as f64);
            metrics::gauge!("gristmill_store_writes_waiting").set(self.waiting.len() as f64);
            self.signal.until_writable();
            let transaction = self.transact(&mut batch);
            for operation in batch.drain(..) {
                operation.answer(&transaction);
            }
        }
    }

    /// Carries out a batch. An error is the whole batch's: nothing of it was written, or, after a failure of the
    /// disk that leaves that open, it says [`StoreError::Unavailable`].
    fn transact(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        let transaction = self.carry_out(batch).and_then(|()| self.commit());
        if transaction.is_err() {
            self.session.counts.forget();
            if !self.session.conn.is_autocommit()
                && let Err(error) = self.execute("ROLLBACK")
            {
                tracing::error!(%error, "a transaction could not be rolled back");
            }
        }
        transaction
    }

    fn carry_out(&mut self, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        for operation in batch {
            self.execute("SAVEPOINT operation")?;
            match operation.run(&mut self.session) {
                Ok(()) => self.session.counts.keep(),
                Err(fault) => {
                    stop_if_the_disk_failed(&fault);
                    if self.session.conn.is_autocommit() {
                        // SQLite has rolled back everything, the operations before this one included.
                        return Err(fault.into());
                    }
                    self.execute("ROLLBACK TO operation")?;
                    self.session.counts.discard();
                    operation.fail(fault.into());
                }
            }
            self.execute("RELEASE operation")?;
        }
        self.session.counts.write(&self.session.conn).map_err(|fault| {
            stop_if_the_disk_failed(&fault);
            fault.into()
        })
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        let committed = self.session.conn.prepare_cached("COMMIT").and_then(|mut statement| statement.execute([]));
        match committed.map_err(Fault::from) {
            Ok(_) => {
                metrics::histogram!("gristmill_store_commit_seconds").record(began.elapsed().as_secs_f64());
                self.session.counts.forget();
                self.signal.committed();
                Ok(())
            }
            Err(fault) => Err(failed_commit(fault)),
        }
    }

    fn execute(&self, sql: &str) -> Result<(), StoreError> {
        let done = self.session.conn.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        done.map(drop).map_err(|error| {
            let fault = Fault::from(error);
            stop_if_the_disk_failed(&fault);
            fault.into()
        })
    }
}

fn failed_commit(fault: Fault) -> StoreError {
    stop_if_the_disk_failed(&fault);
    match fault {
        // The log has the commit, but its index had no room for it. This process never sees the batch and will
        // write over it; only a crash before that would bring it back. So "nothing was written" would be too
        // much to say.
        Fault::Sql(error) if error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE) => {
            StoreError::unavailable(error)
        }
        fault => fault.into(),
    }
}
