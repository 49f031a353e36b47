//! Queues: declared, paused, resumed, counted.

use std::time::Duration;

use gristmill_common::{
    QueueName, QueueRate, QueueRecord, State, Tenant, Timestamp,
    http::FieldError,
    job::{Gates, RateLimit},
    limits::Rate,
};
use gristmill_storage::{Expect, Kind, RegisterKey, Space, StoreError, Swap};
use serde_json::Value;

use crate::{Engine, EngineError, board::to_json};

/// How often a change is tried again when somebody else was quicker.
const MOST_TRIES: u32 = 50;
/// The longest wait before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// A queue and what is in it.
#[derive(Debug, Clone)]
pub struct QueueStatus {
    /// The queue.
    pub record: QueueRecord,
    /// Jobs that wait for their time, for their next attempt, or for a gate.
    pub scheduled: u64,
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
                scheduled: count(State::Scheduled),
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

    /// Declares a queue and says how many of its jobs may start in a time; as many as can, without a rate.
    ///
    /// # Errors
    /// The rate makes no sense, or the store failed.
    pub async fn declare_limited_queue(&self, name: &QueueName, rate: Option<QueueRate>) -> Result<(), EngineError> {
        check_rate(name, rate)?;
        self.add_queue(name).await?;
        if self.change_queue(name, "rate_limit", to_json(&rate)?).await? {
            self.begin_rate_anew(name).await?;
        }
        Ok(self.refresh_board().await?)
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
        self.change_queue(name, "paused", paused.into()).await?;
        Ok(self.refresh_board().await?)
    }

    /// Changes one setting of a queue, and no other: a newer build may have written more into the record. Says whether
    /// it was another before.
    async fn change_queue(&self, name: &QueueName, setting: &str, to: Value) -> Result<bool, EngineError> {
        for _ in 0..MOST_TRIES {
            let records = self.store().records(Kind::Queue).await?;
            let there = records.into_iter().find(|record| record["name"] == name.as_str());
            let there = there.ok_or(EngineError::NoSuchQueue)?;
            if there[setting] == to {
                return Ok(false);
            }
            let mut record = there.clone();
            record[setting] = to.clone();
            if self.store().replace_record(Kind::Queue, name.as_str(), &there, record).await? {
                return Ok(true);
            }
            before_next_try().await;
        }
        Err(StoreError::Overloaded.into())
    }

    /// What was started under the old numbers does not count under the new ones.
    async fn begin_rate_anew(&self, name: &QueueName) -> Result<(), EngineError> {
        let key = RegisterKey { space: Space::QueueRate, tenant: Tenant::default(), name: name.to_string() };
        for _ in 0..MOST_TRIES {
            let used = self.store().registers(std::slice::from_ref(&key)).await?.pop().flatten();
            let Some(used) = used else { return Ok(()) };
            let to = Some((to_json(&Rate::default())?, used.due_at));
            let swap = Swap { key: used.key, expect: Expect::Version(used.version), to };
            if self.store().swap(vec![swap]).await?.contains(&true) {
                return Ok(());
            }
            before_next_try().await;
        }
        Err(StoreError::Overloaded.into())
    }
}

/// Others were at it at the same moment.
async fn before_next_try() {
    tokio::time::sleep(TRY_AGAIN.mul_f64(fastrand::f64())).await;
}

/// A queue's rate has the bounds of a key's.
fn check_rate(name: &QueueName, rate: Option<QueueRate>) -> Result<(), EngineError> {
    let rate_limit = rate.and_then(|QueueRate { limit, per_ms }| {
        let key = name.as_str().parse().ok()?;
        Some(RateLimit { key, limit, per_ms })
    });
    let mut errors = Vec::new();
    Gates { rate_limit, ..Gates::default() }
        .check(|field, detail| errors.push(FieldError::new(format!("/{field}"), detail)));
    if errors.is_empty() { Ok(()) } else { Err(EngineError::InvalidQueue(errors)) }
}
