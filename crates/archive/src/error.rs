//! What can go wrong with a move.

use std::{
    io,
    path::{Path, PathBuf},
};

use gristmill_common::BlobId;
use gristmill_storage::StoreError;

/// A move could not be made, or not to its end. What was done so far stays, and running it again goes on from there,
/// unless the error says that it cannot.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no database in the folder.
    #[error("{} is no data folder: it has no gristmill.db", .0.display())]
    NoData(PathBuf),
    /// Something is where the copy was to be.
    #[error("{} is there already: a backup overwrites nothing", .0.display())]
    Exists(PathBuf),
    /// The folder for the archive holds something else.
    #[error("{} holds something else than an archive: name a new folder", .0.display())]
    NotEmpty(PathBuf),
    /// There is no manifest in the folder.
    #[error("{} is no archive: it has no manifest.json", .0.display())]
    NoArchive(PathBuf),
    /// The export was broken off.
    #[error("{} is not complete: run the export again, it goes on where it was broken off", .0.display())]
    Incomplete(PathBuf),
    /// A newer build wrote it.
    #[error("the archive's format is version {found}, this build knows versions up to {known}: use a newer build")]
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// A file of the archive is not what was written.
    #[error("the archive is damaged: {}: {what}", file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The archive was begun from another folder, or a server has run on the folder since.
    #[error("the data folder is not as it was when {} was begun, or it is another one: export into a new folder", .0.display())]
    SourceChanged(PathBuf),
    /// The jobs that were read are not as many as the store's own counts say.
    #[error("the data folder is inconsistent: its counts say {counted} jobs, and {found} were found")]
    Miscounted {
        /// By the counts.
        counted: u64,
        /// By reading.
        found: u64,
    },
    /// A large body could not be stored, because the target has something else under its id.
    #[error("{0} is in the target with other content, and belongs to no job of the archive")]
    BlobInTheWay(BlobId),
}

/// What happened to a file.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::File { path: path.to_owned(), source }
}

/// What is wrong with a file of the archive.
pub(crate) fn damaged(file: &Path, what: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged { file: file.to_owned(), what: what.to_string() }
}
