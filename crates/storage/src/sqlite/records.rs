//! Small records, and who leads.

use gristmill_common::{LeaderRecord, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::{cells::Cells, fault::Fault, row};
use crate::Kind;

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Queue => "queue",
        Kind::Worker => "worker",
        Kind::JobType => "job_type",
    }
}

pub(super) fn put(conn: &Connection, kind: Kind, name: &str, record: &Value) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO records (kind, name, json) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![word(kind), name, row::json(record)?])?;
    Ok(())
}

pub(super) fn add(conn: &Connection, kind: Kind, name: &str, record: &Value) -> Result<bool, Fault> {
    let mut statement =
        conn.prepare_cached("INSERT INTO records (kind, name, json) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    Ok(statement.execute(params![word(kind), name, row::json(record)?])? == 1)
}

/// Between reading the record and writing it nobody else writes: this runs on the writer.
pub(super) fn replace(
    conn: &Connection,
    kind: Kind,
    name: &str,
    expected: &Value,
    record: &Value,
) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached("SELECT json FROM records WHERE kind = ?1 AND name = ?2")?;
    let found = statement.query_row([word(kind), name], |row| Ok(Cells::of(row).json::<Value>()));
    match found.optional()?.transpose()? {
        Some(there) if there == *expected => put(conn, kind, name, record).map(|()| true),
        _ => Ok(false),
    }
}

pub(super) fn of_kind(conn: &Connection, kind: Kind) -> Result<Vec<Value>, Fault> {
    let mut statement = conn.prepare_cached("SELECT json FROM records WHERE kind = ?1 ORDER BY name")?;
    let mut rows = statement.query([word(kind)])?;
    let mut records = Vec::new();
    while let Some(found) = rows.next()? {
        records.push(Cells::of(found).json()?);
    }
    Ok(records)
}

pub(super) fn drop_one(conn: &Connection, kind: Kind, name: &str) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached("DELETE FROM records WHERE kind = ?1 AND name = ?2")?;
    statement.execute(params![word(kind), name])?;
    Ok(())
}

pub(super) fn lead(conn: &Connection, record: &LeaderRecord, now: Timestamp) -> Result<bool, Fault> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO leader (one, holder, until, json) VALUES (1, ?1, ?2, ?3) \
         ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, until = excluded.until, json = excluded.json \
         WHERE leader.holder = excluded.holder OR leader.until <= ?4",
    )?;
    let values = params![record.holder.as_bytes(), record.until.as_millis(), row::json(record)?, now.as_millis()];
    Ok(statement.execute(values)? == 1)
}

pub(super) fn leader(conn: &Connection) -> Result<Option<LeaderRecord>, Fault> {
    let mut statement = conn.prepare_cached("SELECT json FROM leader")?;
    statement.query_row([], |row| Ok(Cells::of(row).json())).optional()?.transpose()
}
