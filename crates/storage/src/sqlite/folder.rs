//! The data folder: made if it is missing, and held by one process at a time.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::StoreError;

/// The database file's name in its folder.
pub(super) const DATABASE: &str = "gristmill.db";

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
        let lock = private_file(&path.join("gristmill.lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(path.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        // SQLite would make it readable for everybody. Its log and the log's index take their mode from it.
        private_file(&folder.database()).map_err(unusable)?;
        Ok(folder)
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

/// Opens a file for writing; one that is missing is made, empty and for the owner alone.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
