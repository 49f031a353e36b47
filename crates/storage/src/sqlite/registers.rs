//! Registers. Swaps run on the writer: what a statement compares nobody else changes meanwhile.

use async_trait::async_trait;
use gristmill_common::{Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::{SqliteStore, cells::Cells, fault::Fault, row};
use crate::{Expect, Register, RegisterKey, RegisterStore, Space, StoreError, Swap, registers::first_version};

pub(super) const FIND: &str = "SELECT key, version, due_at, json FROM registers WHERE key = ?1";

pub(super) const DUE: &str = "SELECT key, version, due_at, json FROM registers INDEXED BY registers_due \
     WHERE due_at IS NOT NULL AND (due_at, key) > (?1, ?2) AND due_at <= ?3 ORDER BY due_at, key";

pub(super) const LIST: &str = "SELECT key, version, due_at, json FROM registers \
     WHERE key > ?1 AND key < ?2 ORDER BY key";

#[async_trait]
impl RegisterStore for SqliteStore {
    async fn registers(&self, keys: &[RegisterKey]) -> Result<Vec<Option<Register>>, StoreError> {
        let keys: Vec<String> = keys.iter().map(RegisterKey::to_text).collect();
        self.points.read(move |conn| read(conn, &keys)).await
    }

    async fn swap(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, StoreError> {
        let swaps = swaps.into_iter().map(Ready::of).collect::<Result<Vec<_>, Fault>>()?;
        let bytes = swaps.iter().filter_map(|swap| Some(swap.to.as_ref()?.json.len())).sum();
        self.writer.write(bytes, move |session| swaps.iter().map(|swap| swap.make(&session.conn)).collect()).await
    }

    async fn due_registers(
        &self,
        until: Timestamp,
        after: Option<(Timestamp, RegisterKey)>,
        most: usize,
    ) -> Result<Vec<Register>, StoreError> {
        let (at, key) = after.map_or((i64::MIN, String::new()), |(at, key)| (at.as_millis(), key.to_text()));
        self.points.read(move |conn| collect(conn, DUE, most, params![at, key, until.as_millis()])).await
    }

    async fn list_registers(
        &self,
        space: Space,
        tenant: Option<&Tenant>,
        after: Option<&RegisterKey>,
        most: usize,
    ) -> Result<Vec<Register>, StoreError> {
        let (start, end) = RegisterKey::range(space, tenant);
        let start = after.map_or(start.clone(), |key| key.to_text().max(start));
        self.scans.read(move |conn| collect(conn, LIST, most, params![start, end])).await
    }
}

/// A swap as it is written.
struct Ready {
    key: String,
    expect: Expect,
    to: Option<Value>,
}

struct Value {
    json: String,
    due_at: Option<i64>,
}

impl Ready {
    fn of(swap: Swap) -> Result<Self, Fault> {
        let value = |(value, due_at): (serde_json::Value, Option<Timestamp>)| {
            Ok::<_, Fault>(Value { json: row::json(&value)?, due_at: due_at.map(Timestamp::as_millis) })
        };
        Ok(Self { key: swap.key.to_text(), expect: swap.expect, to: swap.to.map(value).transpose()? })
    }

    /// Makes the swap, if the register is as expected; says whether it was.
    fn make(&self, conn: &Connection) -> Result<bool, Fault> {
        let changed = match (self.expect, &self.to) {
            (Expect::Absent, None) => 0,
            (Expect::Absent, Some(Value { json, due_at })) => {
                let mut statement = conn.prepare_cached(
                    "INSERT INTO registers (key, version, due_at, json) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                )?;
                statement.execute(params![self.key, row::signed(first_version()), due_at, json])?
            }
            (Expect::Version(version), Some(Value { json, due_at })) => {
                let mut statement = conn.prepare_cached(
                    "UPDATE registers SET version = version + 1, due_at = ?3, json = ?4 WHERE key = ?1 AND version = ?2",
                )?;
                statement.execute(params![self.key, row::signed(version), due_at, json])?
            }
            (Expect::Version(version), None) => {
                let mut statement = conn.prepare_cached("DELETE FROM registers WHERE key = ?1 AND version = ?2")?;
                statement.execute(params![self.key, row::signed(version)])?
            }
        };
        Ok(changed == 1)
    }
}

fn read(conn: &Connection, keys: &[String]) -> Result<Vec<Option<Register>>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(FIND)?;
    let find = |key| statement.query_row([key], |row| Ok(register(&mut Cells::of(row)))).optional()?.transpose();
    keys.iter().map(find).collect()
}

/// At most so many of those that can be read: others are read in the place of those that cannot.
fn collect(conn: &Connection, sql: &str, most: usize, params: impl Params) -> Result<Vec<Register>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut registers = Vec::new();
    while registers.len() < most
        && let Some(found) = rows.next()?
    {
        let name = || Cells::of(found).text().map_or_else(|_| "a register".to_owned(), str::to_owned);
        let read = register(&mut Cells::of(found)).map(Some);
        registers.extend(read.or_else(|fault| row::left_out(fault, name))?);
    }
    Ok(registers)
}

fn register(cells: &mut Cells<'_>) -> Result<Register, Fault> {
    let text = cells.text()?;
    let key =
        RegisterKey::from_text(text).ok_or_else(|| Fault::Corrupt(format!("`{text}` is no key of a register")))?;
    Ok(Register { key, version: cells.unsigned()?, due_at: cells.time_or_none()?, value: cells.json()? })
}
