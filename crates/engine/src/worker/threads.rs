//! The threads for work that keeps a processor busy. A handler that does not stop when it is told to keeps its thread
//! until the process ends: the others go on, and when none is left the worker takes no more such work.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded number of threads.
pub(super) struct Threads {
    free: Arc<Semaphore>,
    all: usize,
    stuck: Arc<AtomicUsize>,
}

/// A thread that is taken.
pub(super) struct Thread {
    permit: OwnedSemaphorePermit,
    stuck: Arc<AtomicUsize>,
}

/// Every thread is held by a handler that was told to stop and does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("every thread for work of class cpu is held by a handler that does not stop when it is told to")]
pub struct ThreadsStuck;

/// The work broke off: it panicked, or the process stops.
pub(super) type BrokeOff = tokio::task::JoinError;

impl Threads {
    pub(super) fn new(all: usize) -> Self {
        let all = all.max(1);
        Self { free: Arc::new(Semaphore::new(all)), all, stuck: Arc::default() }
    }

    /// Waits for a free one.
    pub(super) async fn one(&self) -> Option<Thread> {
        let permit = self.free.clone().acquire_owned().await.ok()?;
        Some(Thread { permit, stuck: self.stuck.clone() })
    }

    pub(super) fn check(&self) -> Result<(), ThreadsStuck> {
        if self.stuck.load(Ordering::Relaxed) < self.all { Ok(()) } else { Err(ThreadsStuck) }
    }
}

impl Thread {
    /// Runs work on it. When this future is dropped the work goes on, and the thread counts as stuck until it ends.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BrokeOff> {
        let Self { permit, stuck } = self;
        let patience = Patience { run: Arc::default(), stuck };
        let (run, stuck) = (patience.run.clone(), patience.stuck.clone());
        let runtime = tokio::runtime::Handle::current();
        let done = tokio::task::spawn_blocking(move || {
            // Held until the work is really over, even if nobody waits for it any more.
            let _over = Over { _permit: permit, run, stuck };
            runtime.block_on(work)
        });
        done.await
    }
}

const RUNS: u8 = 0;
const GIVEN_UP: u8 = 1;
const ENDED: u8 = 2;

/// On the side of those who wait: dropped before the work has ended, it gives the thread up.
struct Patience {
    run: Arc<AtomicU8>,
    stuck: Arc<AtomicUsize>,
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.run.compare_exchange(RUNS, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            count(self.stuck.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }
}

/// On the side of the thread: dropped when the work has ended, also by a panic.
struct Over {
    _permit: OwnedSemaphorePermit,
    run: Arc<AtomicU8>,
    stuck: Arc<AtomicUsize>,
}

impl Drop for Over {
    fn drop(&mut self) {
        if self.run.swap(ENDED, Ordering::AcqRel) == GIVEN_UP {
            count(self.stuck.fetch_sub(1, Ordering::Relaxed) - 1);
        }
    }
}

fn count(stuck: usize) {
    metrics::gauge!("gristmill_threads_stuck").set(stuck as f64);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_was_given_up_is_stuck_until_its_work_ends() {
        let threads = Threads::new(1);
        let (go_on, wait) = mpsc::channel::<()>();
        let work = threads.one().await.expect("a thread").run(async move { wait.recv() });
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(20), work).await;
        assert!(given_up.is_err());
        assert_eq!((threads.check(), threads.free.available_permits()), (Err(ThreadsStuck), 0));
        drop(go_on);
        let again = threads.one().await.expect("a thread").run(async { 7 }).await;
        assert_eq!((again.ok(), threads.check()), (Some(7), Ok(())));
    }
}
