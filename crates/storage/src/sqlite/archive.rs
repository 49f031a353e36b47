//! Jobs with all that belongs to them, read and restored as they are.

use async_trait::async_trait;
use gristmill_common::{
    Part,
    job::{Job, JobKey},
};
use rusqlite::{Connection, params};

use super::{
    SqliteStore, bodies,
    cells::Cells,
    fault::Fault,
    jobs_read::find,
    logs,
    row::{self, columns, limit},
    writer::Session,
};
use crate::{ArchiveStore, Restored, StoreError, Whole};

/// Along the index of the keys.
pub(super) const WALK: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM jobs INDEXED BY jobs_key WHERE (tenant, id) > (?1, ?2) ORDER BY tenant, id LIMIT ?3"
);

/// A page of jobs ends with the job that makes it this long. Bytes.
const PAGE_BYTES: usize = 8 << 20;

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn walk(&self, after: Option<&JobKey>, limit: usize) -> Result<Vec<Whole>, StoreError> {
        let after = after.cloned();
        self.scans.read(move |conn| walk(conn, after.as_ref(), limit)).await
    }

    async fn whole(&self, keys: &[JobKey]) -> Result<Vec<Option<Whole>>, StoreError> {
        let keys = keys.to_vec();
        self.scans.read(move |conn| whole(conn, &keys)).await
    }

    async fn restore(&self, jobs: Vec<Whole>) -> Result<Vec<Restored>, StoreError> {
        let bytes = jobs.iter().map(Whole::inline_bytes).sum();
        self.writer.write(bytes, move |session| jobs.iter().map(|whole| restore(session, whole)).collect()).await
    }
}

fn walk(conn: &Connection, after: Option<&JobKey>, most: usize) -> Result<Vec<Whole>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    let (tenant, id) = after.map_or(("", &[][..]), |key| (key.tenant.as_str(), &key.id.as_bytes()[..]));
    let mut statement = snapshot.prepare_cached(WALK)?;
    let mut rows = statement.query(params![tenant, id, limit(most)])?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(found) = rows.next()? {
        let (n, job) = row::read(&mut Cells::of(found))?;
        let whole = complete(&snapshot, n, job)?;
        bytes += whole.inline_bytes();
        page.push(whole);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

fn whole(conn: &Connection, keys: &[JobKey]) -> Result<Vec<Option<Whole>>, Fault> {
    let snapshot = conn.unchecked_transaction()?;
    let whole = |key| match find(&snapshot, key)? {
        Some((n, job)) => complete(&snapshot, n, job).map(Some),
        None => Ok(None),
    };
    keys.iter().map(whole).collect()
}

/// A job with all that belongs to it.
fn complete(conn: &Connection, n: i64, job: Job) -> Result<Whole, Fault> {
    let payload = bodies::read(conn, n, Part::Payload)?;
    Ok(Whole {
        payload: payload.ok_or_else(|| Fault::Corrupt(format!("{} has lost its payload", job.key.id)))?,
        text: bodies::read(conn, n, Part::Text)?,
        result: bodies::read(conn, n, Part::Result)?,
        logs: logs::of(conn, n)?,
        job,
    })
}

fn restore(session: &mut Session, whole: &Whole) -> Result<Restored, Fault> {
    let conn = &session.conn;
    let Some(n) = row::insert(conn, &whole.job)? else { return Ok(Restored::Exists) };
    bodies::write(conn, n, Part::Payload, &whole.payload)?;
    for (part, body) in [(Part::Text, &whole.text), (Part::Result, &whole.result)] {
        if let Some(body) = body {
            bodies::write(conn, n, part, body)?;
        }
    }
    let key = &whole.job.key;
    logs::append(conn, &whole.logs.iter().map(|line| (key.clone(), line.clone())).collect::<Vec<_>>())?;
    session.counts.add(&whole.job);
    Ok(Restored::Created)
}
