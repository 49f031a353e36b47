//! Large bodies: from a store into files, and back.

use std::{fs::File, io::Read, path::Path};

use bytes::Bytes;
use gristmill_common::{BlobRef, Clock, Timestamp, job::JobKey};
use gristmill_storage::{BLOB_CHUNK, Store, StoreError, UPLOAD_EXPIRY};

use crate::{
    ArchiveError,
    error::{at, damaged},
    files::{NewFile, Seal, Sealer},
    record::BlobRecord,
};

/// The folder of the blobs.
pub(crate) const BLOBS: &str = "blobs";

/// Writes a blob into its file.
pub(crate) async fn export(store: &dyn Store, blob: BlobRef, archive: &Path) -> Result<Seal, ArchiveError> {
    let mut file = NewFile::create(archive.join(BLOBS).join(blob.id.to_string()))?;
    while let Some(chunk) = next_chunk(store, blob, file.bytes()).await? {
        file.write(&chunk)?;
    }
    file.finish()
}

/// What a store holds as this blob.
pub(crate) async fn seal_in(store: &dyn Store, blob: BlobRef) -> Result<Seal, StoreError> {
    let (mut sealer, mut bytes) = (Sealer::default(), 0);
    while let Some(chunk) = next_chunk(store, blob, bytes).await? {
        sealer.update(&chunk);
        bytes += chunk.len() as u64;
    }
    Ok(sealer.seal())
}

async fn next_chunk(store: &dyn Store, blob: BlobRef, at: u64) -> Result<Option<Bytes>, StoreError> {
    if at >= blob.bytes {
        return Ok(None);
    }
    match store.read_blob(blob.id, at).await? {
        Some(chunk) => Ok(Some(chunk)),
        None => Err(StoreError::Corrupt(format!("{} ends at byte {at} of {}", blob.id, blob.bytes))),
    }
}

/// Stores a blob from its file, under its own id, for a job that is about to be restored. What an import that was
/// broken off has left of it is replaced.
pub(crate) async fn restore(
    store: &dyn Store,
    clock: &Clock,
    owner: &JobKey,
    blob: &BlobRecord,
    archive: &Path,
) -> Result<(), ArchiveError> {
    store.drop_blobs(&[blob.id]).await?;
    if upload(store, clock, owner, blob, archive).await? {
        return Ok(());
    }
    // What was dropped may still lie where the new one has to go: nothing is collected here, but that is erased.
    let never = Timestamp::from_millis(0);
    store.collect_blobs(never, never, 0).await?;
    if upload(store, clock, owner, blob, archive).await? {
        return Ok(());
    }
    // An import that was broken off just before its job was restored: the store keeps the blob for that job.
    let whole = BlobRef { id: blob.id, bytes: blob.seal.bytes };
    match seal_in(store, whole).await {
        Ok(found) if found == blob.seal => Ok(()),
        Ok(_) | Err(StoreError::Corrupt(_)) => Err(ArchiveError::BlobInTheWay(blob.id)),
        Err(error) => Err(error.into()),
    }
}

/// Uploads a blob; says whether it could.
async fn upload(
    store: &dyn Store,
    clock: &Clock,
    owner: &JobKey,
    blob: &BlobRecord,
    archive: &Path,
) -> Result<bool, ArchiveError> {
    let path = archive.join(BLOBS).join(blob.id.to_string());
    let mut file = File::open(&path).map_err(at(&path))?;
    let mut sealer = Sealer::default();
    store.begin_blob(blob.id, owner, clock.now() + UPLOAD_EXPIRY).await?;
    loop {
        let mut chunk = Vec::with_capacity(BLOB_CHUNK);
        file.by_ref().take(BLOB_CHUNK as u64).read_to_end(&mut chunk).map_err(at(&path))?;
        if chunk.is_empty() {
            break;
        }
        sealer.update(&chunk);
        if !store.append_blob(blob.id, chunk.into(), clock.now() + UPLOAD_EXPIRY).await? {
            return Ok(false);
        }
    }
    if sealer.seal() != blob.seal {
        return Err(damaged(&path, "it changed while it was imported"));
    }
    Ok(store.commit_blob(blob.id, clock.now()).await?.is_some_and(|stored| stored.bytes == blob.seal.bytes))
}
