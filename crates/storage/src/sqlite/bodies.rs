//! Payloads, texts and results, in tables of their own, so that a change of state never rewrites them.

use gristmill_common::{Body, Part};
use rusqlite::{Connection, OptionalExtension, params};

use super::{blobs, cells::Cells, fault::Fault};

macro_rules! insert {
    ($table:literal) => {
        concat!("INSERT OR REPLACE INTO ", $table, " (job, bytes, blob, length) VALUES (?1, ?2, ?3, ?4)")
    };
}

macro_rules! select {
    ($table:literal) => {
        concat!("SELECT bytes, blob, length FROM ", $table, " WHERE job = ?1")
    };
}

/// Stores a body of job `n`. A blob that it is belongs to the job from now on.
pub(super) fn write(conn: &Connection, n: i64, part: Part, body: &Body) -> Result<(), Fault> {
    let sql = match part {
        Part::Payload => insert!("payloads"),
        Part::Text => insert!("texts"),
        Part::Result => insert!("results"),
    };
    let (bytes, blob) = match body {
        Body::Inline(bytes) => (Some(bytes.as_ref()), None),
        Body::Blob(blob) => (None, Some(blob.id)),
    };
    let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
    conn.prepare_cached(sql)?.execute(params![n, bytes, blob.as_ref().map(|id| id.as_bytes()), length])?;
    if let Some(blob) = blob {
        blobs::name(conn, blob)?;
    }
    Ok(())
}

/// Reads a body of job `n`, if it has it.
pub(super) fn read(conn: &Connection, n: i64, part: Part) -> Result<Option<Body>, Fault> {
    let sql = match part {
        Part::Payload => select!("payloads"),
        Part::Text => select!("texts"),
        Part::Result => select!("results"),
    };
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_row([n], |row| Ok(Cells::of(row).body())).optional()?;
    Ok(found.transpose()?.flatten())
}

/// Erases the bodies of job `n`; its blobs are not touched.
pub(super) fn remove(conn: &Connection, n: i64) -> Result<(), Fault> {
    for sql in [
        "DELETE FROM payloads WHERE job = ?1",
        "DELETE FROM texts WHERE job = ?1",
        "DELETE FROM results WHERE job = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([n])?;
    }
    Ok(())
}
