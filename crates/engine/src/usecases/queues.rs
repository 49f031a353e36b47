//! Queues: declared, paused, resumed, counted.

use gristmill_common::{QueueName, QueueRecord, State, Timestamp};
use gristmill_storage::{Kind, StoreError};

use crate::{Engine, EngineError, board::to_json};

/// A queue and what is in it.
#[derive(Debug, Clone)]
pub struct QueueStatus {
    /// The queue.
    pub record: QueueRecord,
    /// Jobs that may run as soon as a worker takes them.
    pub depth: u64,
    /// Jobs that run.
    pub running: u64,
    /// When the longest-waiting queued job was accepted.
    pub oldest_waiting_since: Option<Timestamp>,
}

impl Engine {
    /// Every declared queue, by name.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn queues(&self) -> Result<Vec<QueueStatus>, EngineError> {
        let counts = self.store().counts(None).await?;
        let records: Vec<QueueRecord> = self.read_records(Kind::Queue).await?;
        let mut queues = Vec::with_capacity(records.len());
        for record in records {
            let count = |state| {
                counts
                    .iter()
                    .filter(|count| count.queue == record.name && count.state == state)
                    .map(|count| count.count)
                    .sum()
            };
            queues.push(QueueStatus {
                depth: count(State::Queued),
                running: count(State::Running),
                oldest_waiting_since: self.store().oldest_waiting(&record.name).await?,
                record,
            });
        }
        Ok(queues)
    }

    /// Declares a queue. Declaring it again changes nothing.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn declare_queue(&self, name: &QueueName) -> Result<(), EngineError> {
        self.add_queue(name).await?;
        Ok(self.refresh_board().await?)
    }

    /// Pauses a queue: what runs goes on, nothing more is started, within a second or two on every worker.
    ///
    /// # Errors
    /// There is no such queue, or the store failed.
    pub async fn pause_queue(&self, name: &QueueName) -> Result<(), EngineError> {
        self.set_paused(name, true).await
    }

    /// Resumes a queue.
    ///
    /// # Errors
    /// There is no such queue, or the store failed.
    pub async fn resume_queue(&self, name: &QueueName) -> Result<(), EngineError> {
        self.set_paused(name, false).await
    }

    pub(crate) async fn declare_configured_queues(&self) -> Result<(), StoreError> {
        for name in &self.0.config.queues {
            self.add_queue(name).await?;
        }
        self.add_queue(&QueueName::default()).await
    }

    async fn add_queue(&self, name: &QueueName) -> Result<(), StoreError> {
        let record = QueueRecord { name: name.clone(), paused: false, rate_limit: None, created_at: self.now() };
        self.store().add_record(Kind::Queue, name.as_str(), to_json(&record)?).await?;
        Ok(())
    }

    async fn set_paused(&self, name: &QueueName, paused: bool) -> Result<(), EngineError> {
        loop {
            let records = self.store().records(Kind::Queue).await?;
            let there = records.into_iter().find(|record| record["name"] == name.as_str());
            let there = there.ok_or(EngineError::NoSuchQueue)?;
            // Only what is meant is changed: a newer build may have written more into the record.
            let mut record = there.clone();
            record["paused"] = paused.into();
            if self.store().replace_record(Kind::Queue, name.as_str(), &there, record).await? {
                break;
            }
        }
        Ok(self.refresh_board().await?)
    }
}
