//! The database file: is it ours, which version has it, and how each connection to it is set up.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::fault::Fault;
use crate::{Migration, StoreError};

/// "GmJ1" in ASCII: what `PRAGMA application_id` says of our files.
const APPLICATION_ID: i32 = 0x476d_4a31;

/// Each brings the schema from one version to the next; the first makes version 1. They are never edited once
/// released.
const MIGRATIONS: [Step; 2] = [
    Step { what: "jobs, bodies, blobs, logs and records", sql: include_str!("migrations/0001_jobs.sql") },
    Step { what: "registers, and the gates of jobs", sql: include_str!("migrations/0002_registers.sql") },
];

/// What brings the schema to the next version.
struct Step {
    what: &'static str,
    sql: &'static str,
}

/// How long a connection waits for another one's lock. Only a checkpoint that restarts the log holds one long
/// enough to notice.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long that checkpoint waits for those who read from the log. The writer waits along, so it is short; a backup
/// takes longer, and the checkpoint is made after it.
const CHECKPOINT_PATIENCE: Duration = Duration::from_millis(500);

/// Statements that a connection keeps prepared; above the number there are.
const STATEMENTS: usize = 96;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that writes.
    Writer,
    /// One that reads.
    Reader,
    /// The one that moves the log's pages into the database.
    Checkpointer,
}

impl Role {
    /// The most memory for pages, in KiB.
    fn cache_kib(self) -> u32 {
        match self {
            Self::Writer => 8 * 1024,
            Self::Reader => 2 * 1024,
            Self::Checkpointer => 256,
        }
    }
}

/// Opens the database for writing, after making sure that it is ours and up to date. A file that is not ours is
/// left as it is.
///
/// # Errors
/// See [`crate::open`].
pub(super) fn prepare(path: &Path) -> Result<Connection, StoreError> {
    let mut conn = connect(path, Role::Writer).map_err(|fault| unreadable(path, fault))?;
    let version = identify(&conn, path)?;
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::NewerSchema { found: version, known });
    }
    set_up(&conn, Role::Writer)?;
    migrate(&mut conn, version)?;
    Ok(conn)
}

/// What [`prepare`] would do to the schema; writes nothing.
///
/// # Errors
/// It is not ours, or a newer build has migrated it.
pub(super) fn pending(path: &Path) -> Result<Vec<Migration>, StoreError> {
    let version = match path.try_exists() {
        Ok(false) => 0,
        _ => {
            let conn = look(path).map_err(|fault| unreadable(path, fault))?;
            identify(&conn, path)?
        }
    };
    let known = MIGRATIONS.len() as u32;
    if version > known {
        return Err(StoreError::NewerSchema { found: version, known });
    }
    let steps = (1..).zip(&MIGRATIONS).filter(|(made, _)| *made > version);
    Ok(steps.map(|(version, step)| Migration { version, what: step.what.to_owned() }).collect())
}

/// Another connection to a database that [`prepare`] has opened.
///
/// # Errors
/// It cannot be opened.
pub(super) fn join(path: &Path, role: Role) -> Result<Connection, StoreError> {
    let conn = connect(path, role)?;
    set_up(&conn, role)?;
    Ok(conn)
}

/// A connection that only reads, to a database that another process may have open. It makes sure that it is ours.
///
/// # Errors
/// There is none, or a newer build has migrated it.
pub(super) fn inspect(path: &Path) -> Result<Connection, StoreError> {
    let conn = connect(path, Role::Reader).map_err(|fault| unreadable(path, fault))?;
    let (version, known) = (identify(&conn, path)?, MIGRATIONS.len() as u32);
    if version > known {
        return Err(StoreError::NewerSchema { found: version, known });
    }
    set_up(&conn, Role::Reader)?;
    Ok(conn)
}

fn connect(path: &Path, role: Role) -> Result<Connection, Fault> {
    let access = match role {
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Role::Writer | Role::Checkpointer => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    // Each connection stays on one thread at a time: SQLite need not lock it.
    let conn = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(if role == Role::Checkpointer { CHECKPOINT_PATIENCE } else { PATIENCE })?;
    Ok(conn)
}

/// A connection for a look at a database that nobody may have open. Without a log the file has everything, and is read
/// as one that never changes: else even a reader makes files beside it.
fn look(path: &Path) -> Result<Connection, Fault> {
    let log = path.with_extension("db-wal");
    if log.try_exists().unwrap_or(true) {
        return connect(path, Role::Reader);
    }
    let path = path.to_str().ok_or_else(|| Fault::Corrupt(format!("{} is not UTF-8", path.display())))?;
    let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Ok(Connection::open_with_flags(format!("file:{escaped}?immutable=1"), access)?)
}

/// The version of the schema; 0 for a new file.
fn identify(conn: &Connection, path: &Path) -> Result<u32, StoreError> {
    let read = || -> Result<(i32, u32, i64), rusqlite::Error> {
        let application = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let version = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let objects = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, version, objects))
    };
    match read().map_err(|error| unreadable(path, error.into()))? {
        (APPLICATION_ID, version, _) => Ok(version),
        (0, 0, 0) => Ok(0),
        (application, ..) => Err(StoreError::NotADatabase {
            path: path.display().to_string(),
            source: Arc::new(Fault::Corrupt(format!("its application_id is {application:#x}"))),
        }),
    }
}

fn unreadable(path: &Path, fault: Fault) -> StoreError {
    let code = match &fault {
        Fault::Sql(error) => error.sqlite_error_code(),
        Fault::Corrupt(_) | Fault::UploadExpired(_) => None,
    };
    match code {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::NotADatabase { path: path.display().to_string(), source: Arc::new(fault) }
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            StoreError::Url(format!("{} cannot be used: {fault}", path.display()))
        }
        _ => fault.into(),
    }
}

fn set_up(conn: &Connection, role: Role) -> Result<(), Fault> {
    if role == Role::Writer {
        let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(Fault::Corrupt(format!("SQLite refuses a write-ahead log and keeps `{mode}`")));
        }
    }
    // A commit is on the disk before it is answered. Checkpoints are the checkpointer's: within a commit they
    // would stall it. Savepoints undo from memory, not from a file.
    conn.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; \
         PRAGMA mmap_size = 0; PRAGMA cache_size = -{};",
        role.cache_kib()
    ))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

fn migrate(conn: &mut Connection, version: u32) -> Result<(), Fault> {
    if version as usize == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in &MIGRATIONS[version as usize..] {
        transaction.execute_batch(step.sql)?;
        if version > 0 {
            tracing::info!(what = step.what, "the database is migrated");
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()?;
    Ok(())
}
