#![doc = include_str!("../README.md")]

mod archive;
mod blobs;
mod bounds;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod jobs;
mod mongo;
mod open;
mod records;
mod registers;
mod sqlite;
mod unreadable;

pub use archive::{ArchiveStore, Restored, Whole};
pub use blobs::{BLOB_CHUNK, BlobStore, UPLOAD_EXPIRY};
pub use error::StoreError;
pub use jobs::{
    Claim, Claimed, DueScan, Found, Inserted, JobFilter, JobStore, ListQuery, Order, Page, Position, QueueCounts,
    Removal, Renewal, Whom,
};
pub use open::{Migration, Opened, Ownership, open, pending};
pub use records::{Kind, RecordStore};
pub use registers::{Expect, Register, RegisterKey, RegisterStore, Space, Swap};
pub use sqlite::{Copied, copy};

/// Everything a backend offers.
pub trait Store: JobStore + BlobStore + RecordStore + RegisterStore + ArchiveStore {}

impl<T: JobStore + BlobStore + RecordStore + RegisterStore + ArchiveStore> Store for T {}
