//! What goes wrong in SQLite, and what the store makes of it.

use gristmill_common::BlobId;
use rusqlite::{ErrorCode, ffi};

use crate::StoreError;

/// An operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// SQLite said so.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// A record is not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// A job came with a blob that the collector has taken, or that was never committed.
    #[error("the upload of {0} expired before its job was written")]
    UploadExpired(BlobId),
}

/// What a fault means for those who go on using the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Severity {
    /// The operation alone failed.
    Operation,
    /// There is no room. What could not be written is undone, and there may be room later.
    Full,
    /// The disk failed. What is on it is anybody's guess: nobody may go on as if nothing had happened.
    Disk,
}

impl Fault {
    pub(super) fn severity(&self) -> Severity {
        let Self::Sql(rusqlite::Error::SqliteFailure(error, _)) = self else { return Severity::Operation };
        match error.code {
            ErrorCode::DiskFull => Severity::Full,
            // SQLite says this, and not SQLITE_FULL, when the file of the log's index cannot grow.
            ErrorCode::SystemIoFailure if error.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Severity::Full,
            ErrorCode::SystemIoFailure => Severity::Disk,
            _ => Severity::Operation,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        let severity = fault.severity();
        match fault {
            Fault::Corrupt(what) => Self::Corrupt(what),
            Fault::UploadExpired(id) => Self::UploadExpired(id),
            Fault::Sql(error) if severity == Severity::Full => Self::out_of_space(error),
            Fault::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
                _ => Self::unavailable(error),
            },
        }
    }
}

/// Ends the process after the disk failed: after a failed sync nobody can tell what has reached the disk, and a
/// second sync that succeeds proves nothing. Started again, the store recovers from its log.
///
/// Source: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
pub(super) fn stop_if_the_disk_failed(fault: &Fault) {
    if fault.severity() == Severity::Disk {
        tracing::error!(error = %fault, "the disk failed under the database; the process ends, to recover from the log when it starts again");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: i32) -> Fault {
        Fault::Sql(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        assert_eq!(fault(ffi::SQLITE_FULL).severity(), Severity::Full);
        assert_eq!(fault(ffi::SQLITE_IOERR_SHMSIZE).severity(), Severity::Full);
        assert_eq!(fault(ffi::SQLITE_IOERR_FSYNC).severity(), Severity::Disk);
        assert_eq!(fault(ffi::SQLITE_IOERR_WRITE).severity(), Severity::Disk);
        assert_eq!(fault(ffi::SQLITE_CONSTRAINT).severity(), Severity::Operation);
        assert!(matches!(StoreError::from(fault(ffi::SQLITE_FULL)), StoreError::OutOfSpace(_)));
        assert!(matches!(StoreError::from(fault(ffi::SQLITE_CORRUPT)), StoreError::Corrupt(_)));
        assert!(matches!(StoreError::from(fault(ffi::SQLITE_BUSY)), StoreError::Unavailable(_)));
    }
}
