#![doc = include_str!("../README.md")]

mod blobs;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod jobs;
mod open;
mod records;
mod sqlite;

pub use blobs::BlobStore;
pub use error::StoreError;
pub use jobs::{
    Claim, Claimed, DueScan, Found, Inserted, JobFilter, JobStore, ListQuery, Order, Page, Position, QueueCounts,
    Removal, Renewal, Whom,
};
pub use open::{Opened, Ownership, open};
pub use records::{Kind, RecordStore};

/// Everything a backend offers.
pub trait Store: JobStore + BlobStore + RecordStore {}

impl<T: JobStore + BlobStore + RecordStore> Store for T {}
