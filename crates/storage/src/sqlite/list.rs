//! Pages of a tenant's jobs. A page reads a bounded stretch of one index, looks at the few columns that filters
//! ask about, and fetches whole only the jobs that match.

use std::ops::ControlFlow;

use gristmill_common::{JobId, State, Timestamp, job::Job, job::Priority};
use rusqlite::{Connection, params};

use super::{
    cells::Cells,
    fault::Fault,
    row::{self, columns, limit},
};
use crate::{JobFilter, ListQuery, Order, Page, Position};

macro_rules! scan {
    ($clock:literal, $index:literal, $direction:literal) => {
        concat!(
            "SELECT n, ",
            $clock,
            ", id, state, job_type, queue, priority, tags FROM jobs INDEXED BY ",
            $index,
            " WHERE tenant = ?1 AND ",
            $clock,
            " IS NOT NULL AND (",
            $clock,
            ", id) > (?2, ?3) AND (",
            $clock,
            ", id) < (?4, ?5) ORDER BY ",
            $clock,
            " ",
            $direction,
            ", id ",
            $direction,
            " LIMIT ?6"
        )
    };
}

const FETCH: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE n = ?1");

/// The scan that follows an order.
pub(super) fn scan_sql(order: Order) -> &'static str {
    match order {
        Order::NewestFirst => scan!("created_at", "jobs_accepted", "DESC"),
        Order::OldestFirst => scan!("created_at", "jobs_accepted", "ASC"),
        Order::FailedNewestFirst => scan!("failed_at", "jobs_failed", "DESC"),
        Order::FailedOldestFirst => scan!("failed_at", "jobs_failed", "ASC"),
    }
}

/// One side of a range of the index, left out of it: a time and an id, or no id at all, which comes before every
/// id of that time.
type Edge = (i64, Vec<u8>);

fn edges(query: &ListQuery) -> (Edge, Edge) {
    let time = |at: Option<Timestamp>, none: i64| (at.map_or(none, Timestamp::as_millis), Vec::new());
    let (low, high) = (time(query.filter.from, i64::MIN), time(query.filter.before, i64::MAX));
    let Some(Position { at, id }) = query.after else { return (low, high) };
    let after = (at.as_millis(), id.as_bytes().to_vec());
    match query.order {
        Order::NewestFirst | Order::FailedNewestFirst => (low, high.min(after)),
        Order::OldestFirst | Order::FailedOldestFirst => (low.max(after), high),
    }
}

/// What a scan reads of a job.
struct Entry {
    n: i64,
    position: Position,
    matches: bool,
}

impl Entry {
    fn read(cells: &mut Cells<'_>, filter: &JobFilter) -> Result<Self, Fault> {
        let n = cells.int()?;
        let position = Position { at: cells.time()?, id: JobId::from_bytes(cells.id()?) };
        Ok(Self { n, position, matches: matches(cells, filter)? })
    }
}

fn matches(cells: &mut Cells<'_>, filter: &JobFilter) -> Result<bool, Fault> {
    let (state, job_type, queue): (State, _, _) = (cells.state()?, cells.text()?, cells.text()?);
    let (priority, tags): (Priority, _) = (cells.priority()?, cells.text_or_none()?);
    if !(filter.states.is_empty() || filter.states.contains(&state))
        || filter.job_type.as_ref().is_some_and(|wanted| wanted.as_str() != job_type)
        || filter.queue.as_ref().is_some_and(|wanted| wanted.as_str() != queue)
        || filter.priority.is_some_and(|wanted| wanted != priority)
    {
        return Ok(false);
    }
    let Some(wanted) = &filter.tag else { return Ok(true) };
    let tags: Vec<String> = tags
        .map(serde_json::from_str)
        .transpose()
        .map_err(|error| Fault::Corrupt(format!("column tags: {error}")))?
        .unwrap_or_default();
    Ok(tags.contains(wanted))
}

pub(super) fn list(conn: &Connection, query: &ListQuery) -> Result<Page, Fault> {
    // The scan and the jobs it finds are of one moment.
    let snapshot = conn.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(scan_sql(query.order))?;
    let ((low, low_id), (high, high_id)) = edges(query);
    // One more than may be read tells whether there is another page.
    let most = limit(query.scan_limit).saturating_add(1);
    let mut rows = statement.query(params![query.tenant.as_str(), low, low_id, high, high_id, most])?;
    let mut page = Draft { query, scanned: 0, last: None, jobs: Vec::new() };
    while let Some(found) = rows.next()? {
        let entry = Entry::read(&mut Cells::of(found), &query.filter)?;
        if page.take(&snapshot, entry)?.is_break() {
            return Ok(Page { jobs: page.jobs, next: page.last });
        }
    }
    Ok(Page { jobs: page.jobs, next: None })
}

/// A page as it fills.
struct Draft<'q> {
    query: &'q ListQuery,
    scanned: usize,
    last: Option<Position>,
    jobs: Vec<Job>,
}

impl Draft<'_> {
    /// Takes an entry, unless the page is full.
    fn take(&mut self, conn: &Connection, entry: Entry) -> Result<ControlFlow<()>, Fault> {
        if self.scanned >= self.query.scan_limit || self.jobs.len() >= self.query.limit {
            return Ok(ControlFlow::Break(()));
        }
        self.scanned += 1;
        self.last = Some(entry.position);
        if entry.matches {
            let mut statement = conn.prepare_cached(FETCH)?;
            let job = statement.query_row([entry.n], |row| Ok(row::read(&mut Cells::of(row))))?;
            self.jobs.push(job?.1);
        }
        Ok(ControlFlow::Continue(()))
    }
}
