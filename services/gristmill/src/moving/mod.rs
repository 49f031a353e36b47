//! Moving everything that a server holds: into a copy, into an archive, and from there into another store.

mod backup;
mod export;
mod import;
mod progress;

pub(crate) use backup::{BackupOptions, run as backup};
pub(crate) use export::{ExportOptions, run as export};
pub(crate) use import::{ImportOptions, run as import};
