//! What a backend offers for moving jobs from one store into another.

use async_trait::async_trait;
use gristmill_common::{
    Body,
    http::LogLine,
    job::{Job, JobKey},
};

use crate::StoreError;

/// Jobs with all that belongs to them, as they are: nothing is decided here, and nothing happens to a job.
///
/// A blob that a job names is read and restored by itself, under its own id, before the job: see
/// [`BlobStore`](crate::BlobStore).
#[async_trait]
pub trait ArchiveStore: Send + Sync + 'static {
    /// The next jobs of all tenants after this one, or the first ones, in an order of the store's own by their keys. At
    /// most `limit`, and fewer where they are large: only an empty answer is the end.
    ///
    /// # Errors
    /// The store could not be read.
    async fn walk(&self, after: Option<&JobKey>, limit: usize) -> Result<Vec<Whole>, StoreError>;

    /// These jobs, in the order of their keys as given; `None` for one that is not there.
    ///
    /// # Errors
    /// The store could not be read.
    async fn whole(&self, keys: &[JobKey]) -> Result<Vec<Option<Whole>>, StoreError>;

    /// Stores jobs as they are, in whatever state, with their logs, each on its own: one outcome for each, in the order
    /// given. A job whose key is taken is not stored, and the one that has the key stays as it is. A call brings some
    /// megabytes at most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] leaves open which jobs were stored: do it again. So does a blob that is missing.
    async fn restore(&self, jobs: Vec<Whole>) -> Result<Vec<Restored>, StoreError>;
}

/// A job with all that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// The record.
    pub job: Job,
    /// Its payload.
    pub payload: Body,
    /// The text that came as the request's body.
    pub text: Option<Body>,
    /// Its result, if it has one.
    pub result: Option<Body>,
    /// Its log, oldest first.
    pub logs: Vec<LogLine>,
}

/// What became of a job that was to be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    /// It is stored.
    Created,
    /// Its key was taken.
    Exists,
}

impl Whole {
    /// About how long it is without its blobs, in bytes.
    #[must_use]
    pub fn inline_bytes(&self) -> usize {
        let bodies = [Some(&self.payload), self.text.as_ref(), self.result.as_ref()].into_iter().flatten();
        let bodies: usize = bodies.map(|body| if let Body::Inline(bytes) = body { bytes.len() } else { 0 }).sum();
        let lines = self.logs.iter().map(|line| line.message.len());
        let failures = self.job.history.entries().filter_map(|entry| entry.message.as_ref().map(String::len));
        let error = self.job.error.as_ref().map(|error| error.message.len());
        bodies + lines.chain(failures).chain(error).sum::<usize>()
    }
}
