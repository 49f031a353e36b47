#![doc = include_str!("../README.md")]

mod backup;
mod blobs;
mod error;
mod export;
mod files;
mod import;
mod manifest;
mod record;
mod registers;
mod segment;
mod verify;

pub use backup::backup;
pub use error::ArchiveError;
pub use export::{Exported, export};
pub use gristmill_storage::Copied;
pub use import::{Imported, import};
pub use segment::SEGMENT_JOBS;
pub use verify::{Comparison, Standing, Verdict};

/// How far a move has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Jobs done.
    pub jobs: u64,
    /// Jobs in all.
    pub of: u64,
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Jobs are written into the archive.
    Exported,
    /// Jobs are restored into the store, or found there.
    Restored,
    /// Jobs are read back from the store and compared.
    Compared,
}

/// Who is told how far a move has come, now and then.
pub type Watcher<'a> = &'a mut (dyn FnMut(Progress) + Send);
