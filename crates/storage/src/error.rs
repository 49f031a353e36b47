//! What can go wrong with a store.

use std::sync::Arc;

use gristmill_common::BlobId;

/// The cause, for the logs.
type Source = Arc<dyn std::error::Error + Send + Sync>;

/// A store could not do what it was asked. None of these says that nothing was written: see each.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, or did not answer in time. The write may have been made all the same.
    #[error("the store is unavailable: {0}")]
    Unavailable(#[source] Source),
    /// There is no room left. Nothing was written.
    #[error("the store is out of space")]
    OutOfSpace(#[source] Source),
    /// More is waiting to be written than it takes on. Nothing was written.
    #[error("the store is overloaded")]
    Overloaded,
    /// A job, or a result, came with a blob that the collector has taken, or that was never committed. Nothing was
    /// written, and asking again does not help.
    #[error("the upload of {0} expired before its job was written")]
    UploadExpired(BlobId),
    /// The folder belongs to another process.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The file is there, but it is no database of ours.
    #[error("{path} is not a Gristmill database")]
    NotADatabase {
        /// The file.
        path: String,
        /// What SQLite said.
        #[source]
        source: Source,
    },
    /// A newer build has migrated it.
    #[error("the store's schema is version {found}, this build knows versions up to {known}: use a newer build")]
    NewerSchema {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The URL names no backend, or a place that cannot be used.
    #[error("store.url: {0}")]
    Url(String),
    /// What was read is not what was written.
    #[error("the store holds a record that cannot be read: {0}")]
    Corrupt(String),
}

impl StoreError {
    /// It could not be reached, for this reason.
    pub fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Arc::new(source))
    }

    /// There is no room left, it says.
    pub fn out_of_space(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::OutOfSpace(Arc::new(source))
    }
}
