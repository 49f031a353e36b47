//! A copy of a database while another process writes to it.

use std::{fs::File, path::Path};

use super::{
    fault::Fault,
    folder::{self, DATABASE},
    schema,
};
use crate::StoreError;

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How many jobs.
    pub jobs: u64,
    /// The length of the database. Bytes.
    pub bytes: u64,
}

/// Copies the database of a data folder into another folder, which is there and has none. The folder's lock is not
/// taken: a server may be at work there, and every commit that it made before this call is in the copy. The copy is
/// compact, checked, and on the disk.
///
/// Blocks meanwhile. The server's log can't be started over until the copy is made: it grows by what is written.
///
/// # Errors
/// There is no database of ours, it or its copy is damaged, or a disk failed or is full. What there is of the copy is
/// then worth nothing.
pub fn copy(from: &Path, into: &Path) -> Result<Copied, StoreError> {
    let (from, copy) = (from.join(DATABASE), into.join(DATABASE));
    let source = schema::inspect(&from)?;
    let unusable = |error: std::io::Error| StoreError::unavailable(error);
    // SQLite would make it readable for everybody.
    let file = folder::private_file(&copy).map_err(unusable)?;
    let path = copy.to_str().ok_or_else(|| StoreError::Url(format!("{} is not UTF-8", copy.display())))?;
    source.execute("VACUUM INTO ?1", [path]).map_err(Fault::from)?;
    drop(source);
    let jobs = check(&copy)?;
    file.sync_all().and_then(|()| File::open(into)?.sync_all()).map_err(unusable)?;
    let bytes = file.metadata().map_err(unusable)?.len();
    Ok(Copied { jobs, bytes })
}

/// Makes sure that a copy can be read, and that its counts are right; says how many jobs it has.
fn check(copy: &Path) -> Result<u64, StoreError> {
    let conn = schema::inspect(copy)?;
    let ask = || -> Result<(String, i64, i64), rusqlite::Error> {
        let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let counted = conn.query_row("SELECT coalesce(sum(n), 0) FROM job_counts", [], |row| row.get(0))?;
        Ok((verdict, counted, conn.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?))
    };
    match ask().map_err(Fault::from)? {
        (verdict, counted, jobs) if verdict == "ok" && counted == jobs => Ok(jobs.unsigned_abs()),
        (verdict, counted, jobs) => Err(StoreError::Corrupt(format!(
            "the copy has {jobs} jobs, its counts say {counted}, and its check says: {verdict}"
        ))),
    }
}
