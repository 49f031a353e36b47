//! Those who wait for a job to end, and who wakes them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gristmill_broker::Heard;
use gristmill_common::job::JobKey;
use tokio::sync::Notify;

use crate::Engine;

/// How long to wait before listening anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Waiters(Mutex<HashMap<JobKey, Waiting>>);

struct Waiting {
    bell: Arc<Notify>,
    number: usize,
}

impl Waiters {
    fn waiting(&self) -> MutexGuard<'_, HashMap<JobKey, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Hears what is announced, and wakes those whom it concerns.
    pub(crate) async fn wake_the_waiters(self) {
        loop {
            tokio::select! {
                () = self.0.shutdown.cancelled() => return,
                () = self.listen() => {}
            }
            // Events may have been missed while nobody listened.
            self.0.waiters.wake_all();
            if self.sleeps_through(LISTEN_AGAIN).await {
                return;
            }
        }
    }

    async fn listen(&self) {
        let mut events = match self.broker().listen().await {
            Ok(events) => events,
            Err(error) => {
                tracing::warn!(%error, "cannot listen to events; those who wait ask the store");
                return;
            }
        };
        loop {
            match events.next().await {
                Ok(Heard::Event(event)) => self.0.waiters.wake(&event.key()),
                Ok(Heard::Missed) => self.0.waiters.wake_all(),
                Err(error) => {
                    tracing::warn!(%error, "events are no longer heard; those who wait ask the store");
                    return;
                }
            }
        }
    }
}
