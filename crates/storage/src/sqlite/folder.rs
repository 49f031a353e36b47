//! The data folder: made if it is missing, and held by one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::StoreError;

/// A data folder that belongs to this process, until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The system lets go of the lock when the file is closed, however the process ends.
    _lock: File,
}

impl Folder {
    /// Takes a folder; what is missing of it is made, for the owner alone.
    ///
    /// # Errors
    /// Another process has it, or it cannot be made or written to.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let unusable = |error: std::io::Error| StoreError::Url(format!("{} cannot be used: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("gristmill.lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(path.display().to_string())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("gristmill.db")
    }
}
