//! Those who wait for a job to end, and who wakes them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gristmill_broker::Heard;
use gristmill_common::job::JobKey;
use tokio::sync::Notify;

use crate::{Engine, trouble::Trouble};

/// How long to wait before listening anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Waiters {
    waiting: Mutex<HashMap<JobKey, Waiting>>,
    trouble: Trouble,
}

struct Waiting {
    bell: Arc<Notify>,
    number: usize,
}

impl Default for Waiters {
    fn default() -> Self {
        let trouble = Trouble::new("events are not heard; those who wait ask the store");
        Self { waiting: Mutex::default(), trouble }
    }
}

impl Waiters {
    fn waiting(&self) -> MutexGuard<'_, HashMap<JobKey, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, key: &JobKey) {
        if let Some(waiting) = self.waiting().get(key) {
            waiting.bell.notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.waiting().values().for_each(|waiting| waiting.bell.notify_waiters());
    }
}

/// A place among those who wait for one job; left when dropped.
pub(crate) struct Waiter {
    engine: Engine,
    key: JobKey,
    bell: Arc<Notify>,
}

impl Waiter {
    /// Becomes ready at the next event of the job. Ask for it before you read the job, or you may miss one.
    pub(crate) fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.bell.notified()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.engine.0.waiters.waiting();
        if let Some(entry) = waiting.get_mut(&self.key) {
            entry.number -= 1;
            if entry.number == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

impl Engine {
    pub(crate) fn wait_for(&self, key: &JobKey) -> Waiter {
        let mut waiting = self.0.waiters.waiting();
        let entry = waiting.entry(key.clone()).or_insert_with(|| Waiting { bell: Arc::new(Notify::new()), number: 0 });
        entry.number += 1;
        Waiter { engine: self.clone(), key: key.clone(), bell: entry.bell.clone() }
    }

    /// Hears what is announced, and wakes those whom it concerns. A job that has ended has also answered the
    /// bell, whichever process ran it.
    pub(crate) async fn wake_the_waiters(self) {
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                () = self.listen() => {}
            }
            if self.sleeps_through(LISTEN_AGAIN).await {
                return;
            }
        }
    }

    async fn listen(&self) {
        let trouble = &self.0.waiters.trouble;
        let Some(mut events) = trouble.after(self.broker().listen().await) else { return };
        // Events may have been missed while nobody listened.
        self.0.waiters.wake_all();
        loop {
            match events.next().await {
                Ok(Heard::Event(event)) => {
                    let key = event.key();
                    if event.state.is_terminal() {
                        self.0.bell.answered([&key].into_iter());
                    }
                    self.0.waiters.wake(&key);
                }
                Ok(Heard::Missed) => self.0.waiters.wake_all(),
                Err(error) => return trouble.met(&error),
            }
        }
    }
}
