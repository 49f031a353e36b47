//! What a process knows of the others: declared queues, job types, and what the leader asks of submitters. Read
//! again every second, so that nothing on the way of a submission asks the store.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, LeaderRecord, QueueName, QueueRecord, TypeRecord, job::Priority};
use gristmill_storage::{Kind, StoreError};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::{Engine, JobType, trouble::Trouble};

/// How old the board may be.
const REFRESH: Duration = Duration::from_secs(1);
/// How old it may be for somebody who looks for what is not on it.
const FRESH: Duration = Duration::from_millis(100);

/// The latest reading; everybody reads the same.
pub(crate) struct Board {
    reading: RwLock<Arc<Reading>>,
    /// Set by the first reading: before it nobody can say what there is.
    was_read: OnceLock<()>,
    /// When somebody last looked for what was not on the board.
    looked_again: Mutex<Option<Instant>>,
    pub(crate) trouble: Trouble,
    not_declared: Trouble,
}

#[derive(Default)]
struct Reading {
    queues: BTreeMap<QueueName, QueueRecord>,
    types: BTreeMap<String, JobType>,
    backlog: HashSet<BandKey>,
}

/// Nobody can say yet what queues and job types there are.
#[derive(Debug, thiserror::Error)]
#[error("it has not been reached since this process started")]
struct NotReached;

impl Default for Board {
    fn default() -> Self {
        Self {
            reading: RwLock::default(),
            was_read: OnceLock::new(),
            looked_again: Mutex::default(),
            trouble: Trouble::new("queues and job types could not be read; the last reading stands"),
            not_declared: Trouble::new("a queue could not be declared on the broker"),
        }
    }
}

impl Board {
    pub(crate) fn has_queue(&self, queue: &QueueName) -> bool {
        self.reading().queues.contains_key(queue)
    }

    pub(crate) fn queues(&self) -> Vec<QueueRecord> {
        self.reading().queues.values().cloned().collect()
    }

    pub(crate) fn job_type(&self, name: &str) -> Option<JobType> {
        self.reading().types.get(name).cloned()
    }

    pub(crate) fn job_types(&self) -> Vec<JobType> {
        self.reading().types.values().cloned().collect()
    }

    /// Whether there is a reading at all.
    ///
    /// # Errors
    /// The store has not been reached since the process started.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.was_read.get().copied().ok_or_else(|| StoreError::unavailable(NotReached))
    }

    fn reading(&self) -> Arc<Reading> {
        self.reading.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine {
    /// Whether a submitter rings the bell itself: not for a paused queue, and not while older jobs of the band
    /// wait for the leader, which a newcomer must not overtake.
    pub(crate) fn rings_itself(&self, queue: &QueueName, priority: Priority) -> bool {
        let reading = self.0.board.reading();
        reading.queues.get(queue).is_some_and(|record| !record.paused)
            && (reading.backlog.is_empty() || !reading.backlog.contains(&BandKey { queue: queue.clone(), priority }))
    }

    pub(crate) async fn keep_board_fresh(self) {
        while !self.sleeps_through(REFRESH).await {
            self.0.board.trouble.after(self.refresh_board().await);
        }
    }

    /// For somebody who does not find what another process may have put there just now. However many look, the
    /// store is asked ten times a second at most.
    pub(crate) async fn look_again(&self) -> Result<(), StoreError> {
        let mut looked = self.0.board.looked_again.lock().await;
        if looked.is_none_or(|at| at.elapsed() >= FRESH) {
            self.refresh_board().await?;
            *looked = Some(Instant::now());
        }
        Ok(())
    }

    /// Reads the board anew: at once after this process has changed something.
    pub(crate) async fn refresh_board(&self) -> Result<(), StoreError> {
        if self.0.board.check().is_err() {
            self.declare_configured_queues().await?;
        }
        let queues: Vec<QueueRecord> = self.read_records(Kind::Queue).await?;
        let announced: Vec<TypeRecord> = self.read_records(Kind::JobType).await?;
        let backlog = match self.store().leader().await? {
            Some(LeaderRecord { until, backlog, .. }) if until > self.now() => backlog.into_iter().collect(),
            // Without a leader nobody else would ring.
            _ => HashSet::new(),
        };
        let mut declared = Ok(());
        for queue in &queues {
            declared = declared.and(self.broker().declare(&queue.name).await);
        }
        self.0.board.not_declared.after(declared);
        let before = self.0.board.reading();
        let own = self.0.registry.iter().map(|handler| handler.record().clone());
        let types = announced.into_iter().chain(own).filter_map(|record| {
            let name = record.name.to_string();
            // Compiling a schema costs more than all the rest: keep what has not changed.
            let known = before.types.get(&name).filter(|known| {
                let unseen = TypeRecord { last_seen: known.record().last_seen, ..record.clone() };
                unseen == *known.record()
            });
            Some((name, known.cloned().or_else(|| JobType::compile(record))?))
        });
        let types = types.collect();
        let queues = queues.into_iter().map(|queue| (queue.name.clone(), queue)).collect();
        *self.0.board.reading.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Reading { queues, types, backlog });
        let _ = self.0.board.was_read.set(());
        Ok(())
    }

    pub(crate) async fn read_records<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<T>, StoreError> {
        let records = self.store().records(kind).await?;
        // A record that a newer build wrote is left to newer builds.
        Ok(records.into_iter().filter_map(|record| serde_json::from_value(record).ok()).collect())
    }

    /// Sleeps, unless the process stops; says whether it does.
    pub(crate) async fn sleeps_through(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.0.shutdown.cancelled() => true,
            () = tokio::time::sleep(pause) => false,
        }
    }
}

/// A record as the store keeps it.
pub(crate) fn to_json(record: &impl serde::Serialize) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(record).map_err(|error| StoreError::Corrupt(error.to_string()))
}
