//! The collections and their indexes: the one place that lists them.

use mongodb::bson::{RawDocumentBuf, rawdoc};

/// Jobs, with their bodies. `_id` is the job's id and its tenant, so that ids made later lie later.
pub(super) const JOBS: &str = "jobs";
/// Log lines. `_id` is the job's `_id` and the line's number.
pub(super) const LOGS: &str = "logs";
/// Blobs: where each stands.
pub(super) const BLOBS: &str = "blobs";
/// Their bytes. `_id` is the blob and the place of the chunk's first byte.
pub(super) const CHUNKS: &str = "chunks";
/// What is still to be erased of jobs that are gone.
pub(super) const REMAINS: &str = "remains";
/// Small records by kind and name, and who leads.
pub(super) const RECORDS: &str = "records";
/// Registers. `_id` is `space/tenant/name`.
pub(super) const REGISTERS: &str = "registers";
/// The schema's version, and who migrates.
pub(super) const SCHEMA: &str = "schema";

/// An index, declared once.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) collection: &'static str,
    pub(super) name: &'static str,
    /// Fields, each from the smallest up. All filters are equal on the first ones, then there is a range or an order.
    pub(super) fields: &'static [&'static str],
    /// Leaves out documents that have none of the fields.
    pub(super) sparse: bool,
}

/// The duties, and the only index that a change of state rewrites for every job. `lane` is there while a job is
/// queued. The last three let `counts` and `oldest_waiting` answer from the index alone.
pub(super) const DUTIES: Index = Index {
    collection: JOBS,
    name: "duties",
    fields: &["state", "lane", "wake_at", "_id", "tenant", "queue", "created_at"],
    sparse: false,
};
/// Lists by when jobs were accepted: no change touches it.
pub(super) const ACCEPTED: Index =
    Index { collection: JOBS, name: "accepted", fields: &["tenant", "created_at", "_id"], sparse: false };
/// Dead letters. They alone have the field `dead`; a sparse index needs all of its fields to be missing elsewhere.
pub(super) const FAILED: Index =
    Index { collection: JOBS, name: "failed", fields: &["dead.tenant", "dead.at", "dead.id"], sparse: true };
/// Deadlines that still count: the field has another name once the job has started.
pub(super) const DEADLINE: Index = Index { collection: JOBS, name: "deadline", fields: &["deadline"], sparse: true };
/// What the collector looks for.
pub(super) const BLOB_CLOCK: Index =
    Index { collection: BLOBS, name: "clock", fields: &["stage", "clock"], sparse: false };
/// Registers that a duty must look at. They alone have the field `due`.
pub(super) const REGISTERS_DUE: Index =
    Index { collection: REGISTERS, name: "due", fields: &["due.at", "due.id"], sparse: true };

/// Every index there is, but for those by `_id`.
pub(super) const INDEXES: [&Index; 6] = [&DUTIES, &ACCEPTED, &FAILED, &DEADLINE, &BLOB_CLOCK, &REGISTERS_DUE];

impl Index {
    /// The index's key, as the server takes it.
    pub(super) fn key(&self) -> RawDocumentBuf {
        let mut key = RawDocumentBuf::new();
        for field in self.fields {
            if let Ok(field) = <&mongodb::bson::raw::CStr>::try_from(*field) {
                key.append(field, 1);
            }
        }
        key
    }

    /// The index, as the server takes it.
    pub(super) fn declaration(&self) -> RawDocumentBuf {
        let mut declaration = rawdoc! { "name": self.name, "key": self.key() };
        if self.sparse {
            declaration.append(mongodb::bson::raw::cstr!("sparse"), true);
        }
        declaration
    }
}
