//! The lines that handlers log: the first 1,000 of each job.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
};

use gristmill_common::{http::LogLine, job::JobKey};
use rusqlite::{Connection, params};

use super::{cells::Cells, fault::Fault, jobs_read::number};

/// How many lines a job keeps: the factor in the table's key.
const MOST: i64 = 1_000;

pub(super) fn append(conn: &Connection, lines: &[(JobKey, LogLine)]) -> Result<(), Fault> {
    let mut insert = conn.prepare_cached("INSERT INTO logs (k, at, attempt, message) VALUES (?1, ?2, ?3, ?4)")?;
    let mut room: HashMap<&JobKey, Range<i64>> = HashMap::new();
    for (key, line) in lines {
        let free = match room.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(free_places(conn, key)?),
        };
        let Some(k) = free.next() else { continue };
        insert.execute(params![k, line.at.as_millis(), line.attempt, line.message])?;
    }
    Ok(())
}

/// The places that a job's log has left: none when it is full, or the job is gone.
fn free_places(conn: &Connection, key: &JobKey) -> Result<Range<i64>, Fault> {
    let Some(n) = number(conn, key)? else { return Ok(0..0) };
    let (first, end) = (n * MOST, (n + 1) * MOST);
    let mut statement = conn.prepare_cached("SELECT max(k) FROM logs WHERE k >= ?1 AND k < ?2")?;
    let last: Option<i64> = statement.query_row([first, end], |row| row.get(0))?;
    Ok(last.map_or(first, |k| k + 1)..end)
}

pub(super) fn read(conn: &Connection, key: &JobKey) -> Result<Vec<LogLine>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    match number(&snapshot, key)? {
        Some(n) => of(&snapshot, n),
        None => Ok(Vec::new()),
    }
}

/// The log of job `n`.
pub(super) fn of(conn: &Connection, n: i64) -> Result<Vec<LogLine>, Fault> {
    let mut statement =
        conn.prepare_cached("SELECT at, attempt, message FROM logs WHERE k >= ?1 AND k < ?2 ORDER BY k")?;
    let mut rows = statement.query([n * MOST, (n + 1) * MOST])?;
    let mut lines = Vec::new();
    while let Some(found) = rows.next()? {
        let mut cells = Cells::of(found);
        lines.push(LogLine { at: cells.time()?, attempt: cells.unsigned()?, message: cells.text()?.to_owned() });
    }
    Ok(lines)
}

/// Erases the log of job `n`.
pub(super) fn remove(conn: &Connection, n: i64) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM logs WHERE k >= ?1 AND k < ?2")?.execute([n * MOST, (n + 1) * MOST])?;
    Ok(())
}
