//! Blobs: bodies in chunks. A blob's document says where it stands, and every step of it is a compare-and-set.
//!
//! ```text
//! uploading ──► committed ──► naming ──► named
//!     └─────────────┴────────────┴─► deleting ──► gone
//! ```
//!
//! There is no transaction over a blob and its job. So a blob is `naming` while its job is being written, and whoever
//! finds one that has stayed so asks the job.

use std::collections::HashMap;

use bytes::Bytes;
use gristmill_common::{BlobId, BlobRef, Timestamp, job::JobKey};
use mongodb::bson::{RawArrayBuf, RawDocument, RawDocumentBuf, raw::cstr, rawdoc};

use super::{
    collections::{BLOB_CLOCK, BLOBS, CHUNKS, JOBS},
    decode::Cell,
    document::{binary, job_id, time},
    fault::Fault,
    remove,
    server::{Find, Sees, Server, among, id},
};

/// How many blobs that were to be deleted before a sweep finishes.
const SWEEP: usize = 100;

/// Where a blob stands.
mod stage {
    pub(super) const UPLOADING: &str = "uploading";
    /// Complete, but not yet named by a job.
    pub(super) const COMMITTED: &str = "committed";
    /// A job that names it is being written.
    pub(super) const NAMING: &str = "naming";
    /// Named by its job: it goes when the job goes.
    pub(super) const NAMED: &str = "named";
    /// To be erased.
    pub(super) const DELETING: &str = "deleting";
}

/// A blob and the job that is about to name it.
pub(super) struct Taken {
    pub(super) id: BlobId,
    pub(super) owner: JobKey,
}

pub(super) async fn begin(server: &Server, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), Fault> {
    let mut documents = RawArrayBuf::new();
    documents.push(rawdoc! {
        "_id": id.to_string(), "owner": job_id(owner), "stage": stage::UPLOADING, "clock": time(expires), "length": 0_i64,
    });
    match server.insert(BLOBS, documents).await?.all() {
        Err(fault) if !fault.is_duplicate() => Err(fault),
        _ => Ok(()),
    }
}

/// Writes the chunk before the length that covers it: what a blob's length says is there.
pub(super) async fn append(server: &Server, id: BlobId, chunk: &Bytes, expires: Timestamp) -> Result<bool, Fault> {
    let Some(start) = length(server, id).await? else { return Ok(false) };
    let place = chunk_id(id, start);
    if !chunk.is_empty() {
        // An attempt whose answer was lost may have left one here.
        let mut bytes = RawDocumentBuf::new();
        bytes.append(cstr!("bytes"), binary(chunk));
        let replace = rawdoc! { "q": { "_id": place.as_str() }, "u": { "$set": bytes }, "upsert": true };
        server.update(CHUNKS, [replace].into_iter().collect()).await?.all()?;
    }
    let end = super::document::signed(start.saturating_add(chunk.len() as u64));
    let uploading = rawdoc! {
        "_id": id.to_string(), "stage": stage::UPLOADING, "length": super::document::signed(start),
    };
    let extended = swap(server, uploading, rawdoc! { "length": end, "clock": time(expires) }).await?;
    if !extended && !chunk.is_empty() && length(server, id).await?.is_none() {
        server.delete(CHUNKS, [rawdoc! { "_id": place }], 1).await?;
    }
    Ok(extended)
}

/// How long an upload is so far; `None` if it is none any more.
async fn length(server: &Server, id: BlobId) -> Result<Option<u64>, Fault> {
    let filter = rawdoc! { "_id": id.to_string(), "stage": stage::UPLOADING };
    let found = server.find(Find { sees: Sees::Majority, ..Find::new(BLOBS, filter) }).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let value = document.get("length")?.ok_or_else(|| Fault::Corrupt(format!("{id} has no length")))?;
    Cell { document, field: "length", value }.number().map(Some)
}

/// One compare-and-set on a blob; says whether it was as the filter says.
async fn swap(server: &Server, filter: RawDocumentBuf, set: RawDocumentBuf) -> Result<bool, Fault> {
    let statement = rawdoc! { "q": filter, "u": { "$set": set } };
    Ok(server.update(BLOBS, [statement].into_iter().collect()).await?.all()? == 1)
}

pub(super) async fn commit(server: &Server, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, Fault> {
    let Some(bytes) = length(server, id).await? else { return Ok(None) };
    let complete = rawdoc! {
        "_id": id.to_string(), "stage": stage::UPLOADING, "length": super::document::signed(bytes),
    };
    let committed = swap(server, complete, rawdoc! { "stage": stage::COMMITTED, "clock": time(now) }).await?;
    Ok(committed.then_some(BlobRef { id, bytes }))
}

/// Keeps a committed blob for a job that is about to be written. From now on nobody collects it without asking the
/// job.
pub(super) async fn take(server: &Server, taken: &Taken) -> Result<(), Fault> {
    let (id, owner) = (taken.id.to_string(), job_id(&taken.owner));
    let free = rawdoc! { "stage": { "$in": [stage::COMMITTED, stage::NAMING] } };
    let mine = rawdoc! { "stage": stage::NAMED, "owner": owner.as_str() };
    let filter = rawdoc! { "_id": id, "$or": [free, mine] };
    match swap(server, filter, rawdoc! { "stage": stage::NAMING, "owner": owner }).await? {
        true => Ok(()),
        false => Err(Fault::UploadExpired(taken.id)),
    }
}

/// What is known of a job that was to name a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It was written, with the blob.
    Written,
    /// It was not written by this, and may have named the blob before.
    ToBeAsked,
}

/// Says what became of a blob that was taken. If that fails, the collector finds out later.
pub(super) async fn conclude(server: &Server, taken: &Taken, owner: Owner) {
    let concluded = async {
        let stage = match owner {
            Owner::Written => stage::NAMED,
            Owner::ToBeAsked => {
                let owner = job_id(&taken.owner);
                let names = names(server, std::iter::once(owner.as_str())).await?;
                let named = names.get(&owner).is_some_and(|blobs| blobs.contains(&taken.id.to_string()));
                if named { stage::NAMED } else { stage::COMMITTED }
            }
        };
        let naming = rawdoc! { "_id": taken.id.to_string(), "stage": stage::NAMING };
        swap(server, naming, rawdoc! { "stage": stage }).await
    };
    if let Err(fault) = concluded.await {
        tracing::debug!(blob.id = %taken.id, error = %fault, "the collector will have to ask who names this blob");
    }
}

/// The blobs that each of these jobs names.
async fn names<'a>(
    server: &Server,
    owners: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<String, Vec<String>>, Fault> {
    let fields = rawdoc! { "payload.blob": 1, "text.blob": 1, "result.blob": 1 };
    let find = Find { fields, sees: Sees::Majority, ..Find::new(JOBS, rawdoc! { "_id": among(owners) }) };
    let mut names = HashMap::new();
    for job in server.find(find).await? {
        names.insert(id(&job)?.to_owned(), named_by(&job).map(str::to_owned).collect());
    }
    Ok(names)
}

/// The blobs that a job names.
pub(super) fn named_by(job: &RawDocument) -> impl Iterator<Item = &str> {
    ["payload", "text", "result"].into_iter().filter_map(|part| job.get_document(part).ok()?.get_str("blob").ok())
}

/// A place in a blob, as text that sorts as the number does.
fn chunk_id(id: BlobId, start: u64) -> String {
    format!("{id}/{start:020}")
}

pub(super) async fn read(server: &Server, blob: BlobId, from: u64) -> Result<Option<Bytes>, Fault> {
    let filter = rawdoc! { "_id": { "$gte": chunk_id(blob, 0), "$lte": chunk_id(blob, from) } };
    let last = Find { sort: rawdoc! { "_id": -1 }, limit: Some(1), ..Find::new(CHUNKS, filter) };
    let found = server.find(last).await?;
    let Some(document) = found.first() else { return Ok(None) };
    let start: Option<u64> = id(document)?.rsplit('/').next().and_then(|start| start.parse().ok());
    let start = start.ok_or_else(|| Fault::Corrupt(format!("a chunk of {blob} has no place")))?;
    let value = document.get("bytes")?.ok_or_else(|| Fault::Corrupt(format!("a chunk of {blob} is empty")))?;
    let bytes = Cell { document, field: "bytes", value }.bytes()?;
    let wanted = usize::try_from(from - start).ok().and_then(|skipped| bytes.get(skipped..));
    Ok(wanted.filter(|bytes| !bytes.is_empty()).map(Bytes::copy_from_slice))
}

/// Erases these, but for those that a job names, or may be about to name.
pub(super) async fn drop_all(server: &Server, ids: &[BlobId]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = ids.iter().map(BlobId::to_string).collect();
    let droppable = rawdoc! { "_id": among(texts.iter().map(String::as_str)), "stage": { "$in": [stage::UPLOADING, stage::COMMITTED] } };
    let mark = rawdoc! { "q": droppable, "u": { "$set": { "stage": stage::DELETING } }, "multi": true };
    server.update(BLOBS, [mark].into_iter().collect()).await?.all()?;
    let filter = rawdoc! { "_id": among(texts.iter().map(String::as_str)), "stage": stage::DELETING };
    erase_found(server, Find { sees: Sees::Majority, ..Find::new(BLOBS, filter) }).await.map(drop)
}

/// Erases what a search finds; says how many.
async fn erase_found(server: &Server, find: Find<'_>) -> Result<usize, Fault> {
    let found = server.find(Find { fields: rawdoc! { "_id": 1 }, ..find }).await?;
    let ids: Vec<BlobId> = found.iter().filter_map(|blob| id(blob).ok()?.parse().ok()).collect();
    erase(server, &ids).await?;
    Ok(ids.len())
}

/// Erases blobs, the chunks first: while the blob's document is there, the rest is found again.
pub(super) async fn erase(server: &Server, ids: &[BlobId]) -> Result<(), Fault> {
    if ids.is_empty() {
        return Ok(());
    }
    let chunks = ids.iter().map(|id| rawdoc! { "_id": { "$gte": format!("{id}/"), "$lt": format!("{id}0") } });
    server.delete(CHUNKS, chunks, 0).await?;
    server.delete(BLOBS, ids.iter().map(|id| rawdoc! { "_id": id.to_string() }), 1).await.map(drop)
}

pub(super) async fn collect(
    server: &Server,
    now: Timestamp,
    orphaned_before: Timestamp,
    most: usize,
) -> Result<usize, Fault> {
    remove::sweep(server, now).await?;
    erase_found(server, Find { limit: Some(SWEEP), ..Find::new(BLOBS, rawdoc! { "stage": stage::DELETING }) }).await?;
    let mut collected = 0;
    for (stage, bound) in [
        (stage::UPLOADING, rawdoc! { "$lte": time(now) }),
        (stage::COMMITTED, rawdoc! { "$lt": time(orphaned_before) }),
        (stage::NAMING, rawdoc! { "$lt": time(orphaned_before) }),
    ] {
        if collected < most {
            let find = clock_find(stage, bound, most - collected);
            collected += collect_found(server, stage, find).await?;
        }
    }
    Ok(collected)
}

pub(super) fn clock_find(stage: &str, bound: RawDocumentBuf, most: usize) -> Find<'static> {
    Find {
        sort: rawdoc! { "clock": 1 },
        hint: Some(BLOB_CLOCK.name),
        limit: Some(most),
        ..Find::new(BLOBS, rawdoc! { "stage": stage, "clock": bound })
    }
}

/// Erases what was found in this stage, if it still stands there as it was read and no job names it.
async fn collect_found(server: &Server, stage: &str, find: Find<'_>) -> Result<usize, Fault> {
    let found = server.find(find).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let mut owners = Vec::new();
    for blob in &found {
        owners.push(blob.get_str("owner")?);
    }
    let names = if stage == stage::UPLOADING { HashMap::new() } else { names(server, owners.iter().copied()).await? };
    let (mut statements, mut ids) = (RawArrayBuf::new(), Vec::new());
    for (blob, owner) in found.iter().zip(owners) {
        let (blob_id, clock) = (id(blob)?, blob.get_datetime("clock")?);
        let named = names.get(owner).is_some_and(|blobs| blobs.iter().any(|named| named == blob_id));
        let next = if named { stage::NAMED } else { stage::DELETING };
        let as_read = rawdoc! { "_id": blob_id, "stage": stage, "clock": clock };
        statements.push(rawdoc! { "q": as_read, "u": { "$set": { "stage": next } } });
        ids.push(blob_id);
    }
    server.update(BLOBS, statements).await?.all()?;
    let filter = rawdoc! { "_id": among(ids), "stage": stage::DELETING };
    erase_found(server, Find { sees: Sees::Majority, ..Find::new(BLOBS, filter) }).await
}
