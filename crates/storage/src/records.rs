//! What a backend offers for the small records that processes leave for each other.

use async_trait::async_trait;
use gristmill_common::{LeaderRecord, Timestamp, breaker::Reading};
use serde_json::Value;

use crate::StoreError;

/// A kind of small records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Declared queues: `QueueRecord`.
    Queue,
    /// Workers: `WorkerRecord`.
    Worker,
    /// Job types that workers announced: `TypeRecord`.
    JobType,
}

/// Small records by kind and name, and who leads the schedulers. There are few of each kind, so a kind is always
/// read whole.
#[async_trait]
pub trait RecordStore: Send + Sync + 'static {
    /// Stores a record, in place of one of the same name.
    ///
    /// # Errors
    /// The store could not be written.
    async fn put_record(&self, kind: Kind, name: &str, record: Value) -> Result<(), StoreError>;

    /// Stores a record unless there is one of that name; says whether it did.
    ///
    /// # Errors
    /// The store could not be written.
    async fn add_record(&self, kind: Kind, name: &str, record: Value) -> Result<bool, StoreError>;

    /// Stores a record in place of one that says this; says whether there was one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open whether it was stored: read again.
    async fn replace_record(&self, kind: Kind, name: &str, expected: &Value, record: Value)
    -> Result<bool, StoreError>;

    /// Every record of a kind, by name.
    ///
    /// # Errors
    /// The store could not be read.
    async fn records(&self, kind: Kind) -> Result<Vec<Value>, StoreError>;

    /// Drops a record, if it is there.
    ///
    /// # Errors
    /// The store could not be written.
    async fn drop_record(&self, kind: Kind, name: &str) -> Result<(), StoreError>;

    /// Takes or keeps the lead, if nobody else holds it at `now`; says whether it did.
    ///
    /// # Errors
    /// The store could not be written.
    async fn lead(&self, record: LeaderRecord, now: Timestamp) -> Result<bool, StoreError>;

    /// Who led last, perhaps still.
    ///
    /// # Errors
    /// The store could not be read.
    async fn leader(&self) -> Result<Option<LeaderRecord>, StoreError>;

    /// Whether the store answers: for readiness.
    ///
    /// # Errors
    /// It does not.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Whether calls reach the store, or are refused before: asks nobody.
    fn breaker(&self) -> Reading {
        Reading::default()
    }
}
