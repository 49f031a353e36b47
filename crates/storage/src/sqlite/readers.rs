//! Threads that read, each with a connection of its own: SQLite's calls block, and a call to a thread that is
//! already there is cheaper than a new one.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    fault::Fault,
    schema::{self, Role},
};
use crate::StoreError;

type Question = Box<dyn FnOnce(&Connection) + Send>;

/// A few threads that take turns. Dropping it waits for what they are reading.
pub(super) struct Readers {
    queue: Option<mpsc::Sender<Question>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// A connection cannot be opened, or the system has no thread left.
    pub(super) fn start(path: &Path, threads: usize, name: &str) -> Result<Self, StoreError> {
        let (queue, questions) = mpsc::channel::<Question>();
        let questions = Arc::new(Mutex::new(questions));
        let threads = (0..threads)
            .map(|_| {
                let (conn, questions) = (schema::join(path, Role::Reader)?, Arc::clone(&questions));
                let thread = std::thread::Builder::new().name(name.into());
                thread.spawn(move || answer(&conn, &questions)).map_err(StoreError::unavailable)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { queue: Some(queue), threads })
    }

    /// Reads, in one statement or one transaction.
    ///
    /// # Errors
    /// What the reading fails with.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, outcome) = oneshot::channel();
        let question = Box::new(move |conn: &Connection| {
            // Nobody needs an answer that nobody waits for.
            if !reply.is_closed() {
                let _ = reply.send(work(conn).map_err(StoreError::from));
            }
        });
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(question).is_ok());
        if !sent {
            return Err(stopped());
        }
        outcome.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store had panicked");
            }
        }
    }
}

fn answer(conn: &Connection, questions: &Mutex<mpsc::Receiver<Question>>) {
    loop {
        // The lock is held while waiting, and let go of before the question is answered.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { break };
        question(conn);
    }
}

fn stopped() -> StoreError {
    StoreError::unavailable(std::io::Error::other("the store's readers have stopped"))
}
