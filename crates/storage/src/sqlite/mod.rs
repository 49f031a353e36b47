//! The store on SQLite, for one program on one machine: one thread that writes, a few that read, and one that
//! moves the log's pages into the database.

mod archive;
mod blobs;
mod bodies;
mod cells;
mod checkpoint;
mod copy;
mod counts;
mod fault;
mod folder;
mod jobs_read;
mod jobs_write;
mod list;
mod logs;
#[cfg(test)]
mod plans;
mod readers;
mod records;
mod registers;
mod row;
mod schema;
mod store;
#[cfg(test)]
mod trouble;
mod writer;

use std::path::Path;

pub use self::copy::{Copied, copy};
use self::{checkpoint::Checkpointer, folder::Folder, readers::Readers, schema::Role, writer::Writer};
use crate::{Migration, StoreError, bounds::Bounds};

/// Threads for reads of a few rows: a job, a body, a duty's range.
const POINT_READERS: usize = 2;
/// Threads for reads of up to thousands of rows, lists and statistics, so that they never holds up a job.
const SCAN_READERS: usize = 1;

/// A data folder, opened. The traits of a store are implemented in `store.rs`.
///
/// It is closed field by field in this order: the writer first writes what waits, the checkpointer then empties
/// the log, and the folder is let go of last.
pub(crate) struct SqliteStore {
    writer: Writer,
    points: Readers,
    scans: Readers,
    _checkpointer: Checkpointer,
    _folder: Folder,
}

/// What opening this data folder would do to its schema; blocks meanwhile.
///
/// # Errors
/// What is there is no database of ours, or a newer build has migrated it.
pub(crate) fn pending(path: &Path) -> Result<Vec<Migration>, StoreError> {
    schema::pending(&path.join(folder::DATABASE))
}

impl SqliteStore {
    /// Opens a data folder; blocks meanwhile.
    ///
    /// # Errors
    /// See [`crate::open`].
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, Bounds::default())
    }

    fn open_with(path: &Path, bounds: Bounds) -> Result<Self, StoreError> {
        let folder = Folder::take(path)?;
        let path = folder.database();
        let writing = schema::prepare(&path)?;
        let checkpointing = schema::join(&path, Role::Checkpointer)?;
        let checkpointer = Checkpointer::start(checkpointing).map_err(StoreError::unavailable)?;
        Ok(Self {
            writer: Writer::start(writing, checkpointer.signal(), bounds).map_err(StoreError::unavailable)?,
            points: Readers::start(&path, POINT_READERS, "store-read")?,
            scans: Readers::start(&path, SCAN_READERS, "store-scan")?,
            _checkpointer: checkpointer,
            _folder: folder,
        })
    }

    /// Erases blobs that are to be deleted, a few chunks at a time, so that other writes come between. What is
    /// left, because a caller went away or a write failed, is erased by the next sweep.
    async fn sweep(&self) {
        loop {
            match self.writer.write(0, |session| blobs::sweep(&session.conn)).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "dropped blobs are not erased yet; the next sweep goes on with them");
                    break;
                }
            }
        }
    }
}
