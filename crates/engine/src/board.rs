//! What a process knows of the others: declared queues, job types, and what the leader asks of submitters. Read
//! again every second, so that nothing on the way of a submission asks the store.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use gristmill_common::{BandKey, LeaderRecord, QueueName, QueueRecord, TypeRecord, job::Priority};
use gristmill_storage::{Kind, StoreError};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::{Engine, JobType, trouble::Trouble};

/// How old the board may be.
const REFRESH: Duration = Duration::from_secs(1);
/// How soon after a reading the next begins, for somebody who looks for what is not on the board.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// The latest reading; everybody reads the same.
pub(crate) struct Board {
    reading: RwLock<Arc<Reading>>,
    /// Held while somebody looks for what is not on the board.
    looking: Mutex<()>,
    pub(crate) trouble: Trouble,
    not_declared: Trouble,
}

#[derive(Default)]
struct Reading {
    /// When it began; `None` until the first one: before it nobody can say what there is.
    began: Option<Instant>,
    queues: BTreeMap<QueueName, QueueRecord>,
    types: BTreeMap<String, JobType>,
    /// The bands with jobs that wait for the leader; `None` if nobody leads.
    backlog: Option<HashSet<BandKey>>,
}

/// Who rings for a new job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhoRings {
    /// The leader, in its turn.
    Leader,
    /// Whoever submits it, while rings are answered; what is over is the leader's.
    Submitter,
    /// Whoever submits it, and more of them for want of a leader.
    SubmitterAlone,
}

/// Nobody can say yet what queues and job types there are.
#[derive(Debug, thiserror::Error)]
#[error("it has not been reached since this process started")]
struct NotReached;

impl Default for Board {
    fn default() -> Self {
        Self {
            reading: RwLock::default(),
            looking: Mutex::default(),
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
        self.reading().began.map(drop).ok_or_else(|| StoreError::unavailable(NotReached))
    }

    /// How long until it is read again: a leader that has just come is soon known.
    fn pause(&self) -> Duration {
        if self.reading().backlog.is_some() { REFRESH } else { READ_AGAIN }
    }

    fn reading(&self) -> Arc<Reading> {
        self.reading.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Engine {
    /// Who rings for the jobs of a band that are submitted now.
    pub(crate) fn who_rings_in(&self, queue: &QueueName, priority: Priority) -> WhoRings {
        let reading = self.0.board.reading();
        if reading.queues.get(queue).is_none_or(|record| record.paused) {
            return WhoRings::Leader;
        }
        match &reading.backlog {
            None => WhoRings::SubmitterAlone,
            Some(backlog) if backlog.is_empty() || !backlog.contains(&BandKey { queue: queue.clone(), priority }) => {
                WhoRings::Submitter
            }
            Some(_) => WhoRings::Leader,
        }
    }

    pub(crate) async fn keep_board_fresh(self) {
        while !self.sleeps_through(self.0.board.pause()).await {
            self.0.board.trouble.after(self.refresh_board().await);
        }
    }

    /// For somebody who came at this moment and does not find what another process may have put there just before:
    /// afterwards the board is no older than that. However many look, the store is asked ten times a second at most.
    ///
    /// # Errors
    /// The store could not be read.
    pub(crate) async fn look_again(&self, came: Instant) -> Result<(), StoreError> {
        let _looking = self.0.board.looking.lock().await;
        match self.0.board.reading().began {
            Some(began) if began >= came => return Ok(()),
            Some(began) => tokio::time::sleep(READ_AGAIN.saturating_sub(began.elapsed())).await,
            None => {}
        }
        self.refresh_board().await
    }

    /// Reads the board anew: at once after this process has changed something.
    pub(crate) async fn refresh_board(&self) -> Result<(), StoreError> {
        let began = Some(Instant::now());
        if self.0.board.check().is_err() {
            self.declare_configured_queues().await?;
        }
        let queues: Vec<QueueRecord> = self.read_records(Kind::Queue).await?;
        let announced: Vec<TypeRecord> = self.read_records(Kind::JobType).await?;
        let backlog = match self.store().leader().await? {
            Some(LeaderRecord { until, backlog, .. }) if until > self.now() => Some(backlog.into_iter().collect()),
            _ => None,
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
        let mut reading = self.0.board.reading.write().unwrap_or_else(PoisonError::into_inner);
        // One that began later may have been quicker, and knows more.
        if reading.began <= began {
            *reading = Arc::new(Reading { began, queues, types, backlog });
        }
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
