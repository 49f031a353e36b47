//! What a backend offers for bodies too large to live beside their job.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gristmill_common::{BlobId, BlobRef, Timestamp, job::JobKey};

use crate::StoreError;

/// How long an upload may pause before it may be collected.
pub const UPLOAD_EXPIRY: Duration = Duration::from_secs(10 * 60);
/// The size of the chunks that blobs are written in, in bytes.
pub const BLOB_CHUNK: usize = 512 * 1024;

/// Blobs, written in chunks. A blob is `uploading` until it is committed, and belongs to one job.
#[async_trait]
pub trait BlobStore: Send + Sync + 'static {
    /// Begins a blob for a job (which need not exist yet). An upload that is neither continued nor committed by
    /// `expires` may be collected.
    ///
    /// # Errors
    /// The store could not be written.
    async fn begin_blob(&self, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), StoreError>;

    /// Appends a chunk, at most 1 MiB, and renews the upload until `expires`. Says whether the upload was still
    /// there.
    ///
    /// # Errors
    /// The store could not be written.
    async fn append_blob(&self, id: BlobId, chunk: Bytes, expires: Timestamp) -> Result<bool, StoreError>;

    /// Commits an upload, at this time. `None` if it is no longer there.
    ///
    /// # Errors
    /// The store could not be written.
    async fn commit_blob(&self, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, StoreError>;

    /// The chunk that holds this byte of a blob, from this byte on; `None` at the end.
    ///
    /// # Errors
    /// The store could not be read.
    async fn read_blob(&self, id: BlobId, from: u64) -> Result<Option<Bytes>, StoreError>;

    /// Drops blobs, uploading or committed: for an upload that was broken off, or is not needed. A blob that a job
    /// names is kept: after an answer was lost, the caller cannot know that it is.
    ///
    /// # Errors
    /// The store could not be written.
    async fn drop_blobs(&self, ids: &[BlobId]) -> Result<(), StoreError>;

    /// Drops at most `limit` uploads that had expired by `now`, and committed blobs older than `orphaned_before`
    /// that no job names. Says how many. What was dropped, now or earlier, gives its room back no later than this.
    ///
    /// # Errors
    /// The store could not be written.
    async fn collect_blobs(
        &self,
        now: Timestamp,
        orphaned_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError>;
}
