//! Finding jobs: by their keys, and along the duties' indexes.

use gristmill_common::{
    Part, QueueName, State, Timestamp,
    job::{Job, JobKey, Lane},
};
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::{
    bodies,
    cells::Cells,
    fault::Fault,
    row::{self, columns},
};
use crate::{DueScan, Found, unreadable};

const FIND: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE tenant = ?1 AND id = ?2");

/// The job, and its result if it has one, from one moment.
const GET: &str = concat!(
    "SELECT ",
    columns!(),
    ", bytes, blob, length FROM jobs LEFT JOIN results ON results.job = jobs.n WHERE tenant = ?1 AND id = ?2"
);

pub(super) const DUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs INDEXED BY jobs_duties WHERE state = ?1 AND lane = ?2 AND (wake_at, id) > (?3, ?4) \
     AND wake_at <= ?5 ORDER BY wake_at, id"
);

pub(super) const COUNT_FROM: &str =
    "SELECT count(*) FROM jobs INDEXED BY jobs_duties WHERE state = ?1 AND lane = '' AND wake_at >= ?2";

pub(super) const OVERDUE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs INDEXED BY jobs_deadline WHERE deadline IS NOT NULL AND state IN (0, 1) AND deadline <= ?1 \
     ORDER BY deadline, id"
);

/// The next lane after one.
pub(super) const NEXT_LANE: &str =
    "SELECT lane FROM jobs INDEXED BY jobs_duties WHERE state = 1 AND lane > ?1 ORDER BY lane LIMIT 1";

/// Lanes begin with their queue and a slash; `0` comes right after the slash.
pub(super) const OLDEST_WAITING: &str = "SELECT min(created_at) FROM (SELECT created_at FROM jobs \
     INDEXED BY jobs_duties WHERE state = 1 AND lane > ?1 || '/' AND lane < ?1 || '0' LIMIT 10000)";

/// A job and its number.
pub(super) fn find(conn: &Connection, key: &JobKey) -> Result<Option<(i64, Job)>, Fault> {
    let mut statement = conn.prepare_cached(FIND)?;
    let found =
        statement.query_row(params![key.tenant.as_str(), key.id.as_bytes()], |row| Ok(row::read(&mut Cells::of(row))));
    found.optional()?.transpose()
}

/// The same of one of many jobs: it is left out if it cannot be read.
pub(super) fn find_among(conn: &Connection, key: &JobKey) -> Result<Option<(i64, Job)>, Fault> {
    let mut statement = conn.prepare_cached(FIND)?;
    let values = params![key.tenant.as_str(), key.id.as_bytes()];
    Ok(statement.query_row(values, |row| Ok(row::read_among(row))).optional()?.transpose()?.flatten())
}

pub(super) fn get(conn: &Connection, key: &JobKey) -> Result<Option<Found>, Fault> {
    let mut statement = conn.prepare_cached(GET)?;
    let found = statement.query_row(params![key.tenant.as_str(), key.id.as_bytes()], |row| {
        let mut cells = Cells::of(row);
        Ok(row::read(&mut cells).and_then(|(_, job)| Ok(Found { job, result: cells.body()? })))
    });
    found.optional()?.transpose()
}

pub(super) fn jobs(conn: &Connection, keys: &[JobKey]) -> Result<Vec<Option<Job>>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    keys.iter().map(|key| Ok(find(&snapshot, key)?.map(|(_, job)| job))).collect()
}

pub(super) fn body(conn: &Connection, key: &JobKey, part: Part) -> Result<Option<gristmill_common::Body>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    match number(&snapshot, key)? {
        Some(n) => bodies::read(&snapshot, n, part),
        None => Ok(None),
    }
}

/// A job's number.
pub(super) fn number(conn: &Connection, key: &JobKey) -> Result<Option<i64>, Fault> {
    let mut statement = conn.prepare_cached("SELECT n FROM jobs WHERE tenant = ?1 AND id = ?2")?;
    Ok(statement.query_row(params![key.tenant.as_str(), key.id.as_bytes()], |row| row.get(0)).optional()?)
}

pub(super) fn waiting(conn: &Connection, keys: &[JobKey]) -> Result<Vec<Job>, Fault> {
    let mut waiting = Vec::new();
    for key in keys {
        match find_among(conn, key)? {
            Some((_, job)) if job.state == State::Queued => waiting.push(job),
            _ => {}
        }
    }
    Ok(waiting)
}

pub(super) fn due(conn: &Connection, scan: &DueScan) -> Result<Vec<Job>, Fault> {
    let lane = scan.lane.as_ref().map(Lane::to_text).unwrap_or_default();
    let (after, id) = match &scan.after {
        Some(position) => (position.at.as_millis(), &position.id.as_bytes()[..]),
        None => (i64::MIN, &[][..]),
    };
    let until = scan.until.as_millis();
    collect(conn, DUE, params![row::state_code(scan.state), lane, after, id, until], scan.limit)
}

pub(super) fn count_from(conn: &Connection, state: State, from: Timestamp) -> Result<u64, Fault> {
    let mut statement = conn.prepare_cached(COUNT_FROM)?;
    let values = params![row::state_code(state), from.as_millis()];
    statement.query_row(values, |row| Ok(Cells::of(row).unsigned()))?
}

pub(super) fn overdue(conn: &Connection, now: Timestamp, most: usize) -> Result<Vec<Job>, Fault> {
    collect(conn, OVERDUE, params![now.as_millis()], most)
}

/// The first jobs of a range: as many as asked for, unless it ends before. SQLite seeks each as it is asked for.
fn collect(conn: &Connection, sql: &str, params: impl Params, most: usize) -> Result<Vec<Job>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut jobs = Vec::new();
    while jobs.len() < most
        && let Some(found) = rows.next()?
    {
        jobs.extend(row::read_among(found)?.map(|(_, job)| job));
    }
    Ok(jobs)
}

pub(super) fn lanes(conn: &Connection) -> Result<Vec<Lane>, Fault> {
    let mut statement = conn.prepare_cached(NEXT_LANE)?;
    let (mut lanes, mut last) = (Vec::new(), String::new());
    while let Some(text) = statement.query_row([&last], |row| row.get::<_, String>(0)).optional()? {
        match Lane::from_text(&text) {
            Some(lane) => lanes.push(lane),
            None => unreadable::leave_out(&text, &"it is no lane"),
        }
        last = text;
    }
    Ok(lanes)
}

pub(super) fn oldest_waiting(conn: &Connection, queue: &QueueName) -> Result<Option<Timestamp>, Fault> {
    let mut statement = conn.prepare_cached(OLDEST_WAITING)?;
    let oldest: Option<i64> = statement.query_row([queue.as_str()], |row| row.get(0))?;
    Ok(oldest.map(Timestamp::from_millis))
}
