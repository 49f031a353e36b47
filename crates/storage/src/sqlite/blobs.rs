//! Blobs: bodies in chunks. A blob that is dropped is only marked at once, and its chunks are erased a few at a
//! time, so that a long book never holds up the writer.

use bytes::Bytes;
use gristmill_common::{BlobId, BlobRef, Timestamp, job::JobKey};
use rusqlite::{Connection, OptionalExtension, params};

use super::{cells::Cells, fault::Fault, row::limit};

/// Chunks erased in one operation.
const SWEEP: i64 = 8;

/// Where a blob stands, as the column `state` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Uploading = 0,
    /// Complete, but not yet named by a job.
    Committed = 1,
    /// Named by its job: it goes when the job goes.
    Named = 2,
    /// To be erased; nobody can read it any more.
    Deleting = 3,
}

impl Stage {
    fn code(self) -> i64 {
        self as i64
    }
}

pub(super) fn begin(conn: &Connection, id: BlobId, owner: &JobKey, expires: Timestamp) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO blobs (id, tenant, job, state, clock, length) VALUES (?1, ?2, ?3, ?4, ?5, 0) \
         ON CONFLICT (id) DO NOTHING",
    )?;
    statement.execute(params![
        id.as_bytes(),
        owner.tenant.as_str(),
        owner.id.as_bytes(),
        Stage::Uploading.code(),
        expires.as_millis()
    ])?;
    Ok(())
}

pub(super) fn append(conn: &Connection, id: BlobId, chunk: &Bytes, expires: Timestamp) -> Result<bool, Fault> {
    let mut extend = conn.prepare_cached(
        "UPDATE blobs SET length = length + ?2, clock = ?3 WHERE id = ?1 AND state = ?4 RETURNING b, length - ?2",
    )?;
    let values = params![id.as_bytes(), limit(chunk.len()), expires.as_millis(), Stage::Uploading.code()];
    let place = extend.query_row(values, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    let Some((b, start)) = place.optional()? else { return Ok(false) };
    if !chunk.is_empty() {
        let mut insert = conn.prepare_cached("INSERT INTO chunks (b, start, bytes) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![b, start, chunk.as_ref()])?;
    }
    Ok(true)
}

pub(super) fn commit(conn: &Connection, id: BlobId, now: Timestamp) -> Result<Option<BlobRef>, Fault> {
    let mut statement =
        conn.prepare_cached("UPDATE blobs SET state = ?2, clock = ?3 WHERE id = ?1 AND state = ?4 RETURNING length")?;
    let values = params![id.as_bytes(), Stage::Committed.code(), now.as_millis(), Stage::Uploading.code()];
    let length = statement.query_row(values, |row| Ok(Cells::of(row).unsigned())).optional()?;
    Ok(length.transpose()?.map(|bytes| BlobRef { id, bytes }))
}

/// A job names the blob from now on, so it is no orphan. One that is not there any more fails the operation: a job
/// never names a body that cannot be read.
pub(super) fn name(conn: &Connection, id: BlobId) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("UPDATE blobs SET state = ?2 WHERE id = ?1 AND state = ?3")?;
    match statement.execute(params![id.as_bytes(), Stage::Named.code(), Stage::Committed.code()])? {
        0 => Err(Fault::UploadExpired(id)),
        _ => Ok(()),
    }
}

/// The owner of these blobs is gone, and they are to be deleted.
pub(super) fn disown(conn: &Connection, owner: &JobKey) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("UPDATE blobs SET state = ?3 WHERE tenant = ?1 AND job = ?2")?;
    statement.execute(params![owner.tenant.as_str(), owner.id.as_bytes(), Stage::Deleting.code()])?;
    Ok(())
}

pub(super) fn read(conn: &Connection, id: BlobId, from: u64) -> Result<Option<Bytes>, Fault> {
    let Ok(from) = i64::try_from(from) else { return Ok(None) };
    let mut statement = conn.prepare_cached(
        "SELECT start, bytes FROM chunks WHERE b = (SELECT b FROM blobs WHERE id = ?1 AND state <> ?3) \
         AND start <= ?2 ORDER BY start DESC LIMIT 1",
    )?;
    let mut rows = statement.query(params![id.as_bytes(), from, Stage::Deleting.code()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut cells = Cells::of(row);
    let (start, bytes) = (cells.int()?, cells.bytes_or_none()?.unwrap_or_default());
    let wanted = usize::try_from(from - start).ok().and_then(|skipped| bytes.get(skipped..));
    Ok(wanted.filter(|bytes| !bytes.is_empty()).map(Bytes::copy_from_slice))
}

/// Marks these for deletion, but for those that a job names.
pub(super) fn drop_all(conn: &Connection, ids: &[BlobId]) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("UPDATE blobs SET state = ?2 WHERE id = ?1 AND state <> ?3")?;
    for id in ids {
        statement.execute(params![id.as_bytes(), Stage::Deleting.code(), Stage::Named.code()])?;
    }
    Ok(())
}

/// Marks for deletion what nobody will ask for any more; says how many.
pub(super) fn collect(
    conn: &Connection,
    now: Timestamp,
    orphaned_before: Timestamp,
    most: usize,
) -> Result<usize, Fault> {
    let mut statement = conn.prepare_cached(
        "UPDATE blobs SET state = ?4 WHERE b IN (SELECT b FROM blobs WHERE state = ?1 AND clock < ?2 LIMIT ?3)",
    )?;
    let mut mark = |stage: Stage, before: Timestamp, most: usize| {
        statement.execute(params![stage.code(), before.as_millis(), limit(most), Stage::Deleting.code()])
    };
    // An upload has expired at its time; an orphan is older than the time given.
    let expired = mark(Stage::Uploading, now + std::time::Duration::from_millis(1), most)?;
    let orphaned = mark(Stage::Committed, orphaned_before, most - expired)?;
    Ok(expired + orphaned)
}

/// Erases a few chunks of blobs that are to be deleted; says whether more is left.
pub(super) fn sweep(conn: &Connection) -> Result<bool, Fault> {
    let mut next = conn.prepare_cached("SELECT b FROM blobs WHERE state = ?1 LIMIT 1")?;
    let Some(b) = next.query_row([Stage::Deleting.code()], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    let mut erase = conn.prepare_cached(
        "DELETE FROM chunks WHERE b = ?1 AND start IN (SELECT start FROM chunks WHERE b = ?1 LIMIT ?2)",
    )?;
    if erase.execute([b, SWEEP])? < SWEEP as usize {
        conn.prepare_cached("DELETE FROM blobs WHERE b = ?1")?.execute([b])?;
    }
    Ok(true)
}
