//! What changes jobs. Everything here runs on the writer, so between reading a row and writing it nobody else
//! writes: that is the compare-and-set.

use gristmill_common::{
    Body, LeaseId, Part, State, Timestamp,
    job::{Change, Job, JobKey, NewJob},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    blobs, bodies,
    cells::Cells,
    fault::Fault,
    jobs_read::{find, find_among},
    logs,
    row::{self, Indexed},
    writer::Session,
};
use crate::{Claim, Claimed, Inserted, Removal, Renewal, Whom};

/// The bytes of bodies that a write of these jobs brings.
pub(super) fn inline_bytes<'a>(bodies: impl Iterator<Item = &'a Body>) -> usize {
    bodies.map(|body| if let Body::Inline(bytes) = body { bytes.len() } else { 0 }).sum()
}

pub(super) fn insert(session: &mut Session, jobs: &[NewJob]) -> Result<Vec<Inserted>, Fault> {
    jobs.iter().map(|new| insert_one(session, new)).collect()
}

fn insert_one(session: &mut Session, new: &NewJob) -> Result<Inserted, Fault> {
    let conn = &session.conn;
    let Some(n) = row::insert(conn, &new.job)? else {
        let taken = find(conn, &new.job.key)?;
        let (_, job) = taken.ok_or_else(|| Fault::Corrupt(format!("{} is both there and not", new.job.key.id)))?;
        return Ok(Inserted::Exists(job));
    };
    bodies::write(conn, n, Part::Payload, &new.payload)?;
    if let Some(text) = &new.text {
        bodies::write(conn, n, Part::Text, text)?;
    }
    session.counts.add(&new.job);
    Ok(Inserted::Created)
}

pub(super) fn claim(session: &mut Session, claim: &Claim) -> Result<Vec<Claimed>, Fault> {
    let mut claimed = Vec::with_capacity(claim.keys.len());
    for key in &claim.keys {
        let Some((n, job)) = find_among(&session.conn, key)? else { continue };
        if claim.whom == Whom::NeverRescued && job.rescues > 0 {
            continue;
        }
        // A job that may not be claimed is left alone; the claimer learns that from its absence.
        let Ok(change) = job.claim(claim.lease, claim.worker, claim.now, claim.until) else { continue };
        let Some((payload, text)) = bodies_among(&session.conn, n, key)? else { continue };
        if let Some(job) = carry_out(session, n, job, change)? {
            claimed.push(Claimed { job, payload, text });
        }
    }
    Ok(claimed)
}

/// Asked of the writer, so that a claim whose answer was lost is through before this is.
pub(super) fn held(conn: &Connection, lease: LeaseId, keys: &[JobKey]) -> Result<Vec<Claimed>, Fault> {
    let mut held = Vec::new();
    for key in keys {
        match find_among(conn, key)? {
            Some((n, job)) if job.state == State::Running && job.lease == Some(lease) => {
                let bodies = bodies_among(conn, n, key)?;
                held.extend(bodies.map(|(payload, text)| Claimed { job, payload, text }));
            }
            _ => {}
        }
    }
    Ok(held)
}

/// The payload and the text of one of many jobs: it is left out if they cannot be read.
fn bodies_among(conn: &Connection, n: i64, key: &JobKey) -> Result<Option<(Body, Option<Body>)>, Fault> {
    let read = || {
        let payload = bodies::read(conn, n, Part::Payload)?;
        Ok((
            payload.ok_or_else(|| Fault::Corrupt("it has lost its payload".into()))?,
            bodies::read(conn, n, Part::Text)?,
        ))
    };
    read().map_or_else(|fault| row::left_out(fault, || key.id.to_string()), |bodies| Ok(Some(bodies)))
}

pub(super) fn apply(session: &mut Session, changes: Vec<Change>) -> Result<Vec<Option<Job>>, Fault> {
    changes
        .into_iter()
        .map(|change| match find(&session.conn, &change.key)? {
            Some((n, job)) => carry_out(session, n, job, change),
            None => Ok(None),
        })
        .collect()
}

/// Writes a changed job; `None` if the change's guard does not hold.
fn carry_out(session: &mut Session, n: i64, mut job: Job, mut change: Change) -> Result<Option<Job>, Fault> {
    let before = Indexed::of(&job);
    let bodies = [(Part::Payload, change.payload.take()), (Part::Result, change.result.take())];
    if !change.apply(&mut job) {
        return Ok(None);
    }
    row::update(&session.conn, n, &before, &job)?;
    for (part, body) in bodies {
        if let Some(body) = body {
            bodies::write(&session.conn, n, part, &body)?;
        }
    }
    session.counts.moved(&job, before.state);
    Ok(Some(job))
}

pub(super) fn renew(conn: &Connection, held: &[(JobKey, LeaseId)], until: Timestamp) -> Result<Vec<Renewal>, Fault> {
    let mut statement = conn.prepare_cached(
        "UPDATE jobs SET wake_at = max(wake_at, ?4) WHERE tenant = ?1 AND id = ?2 AND state = 2 AND lease = ?3 \
         RETURNING cancel_requested",
    )?;
    let mut renew = |(key, lease): &(JobKey, LeaseId)| {
        let values = params![key.tenant.as_str(), key.id.as_bytes(), lease.as_bytes(), until.as_millis()];
        let stop_requested: Option<bool> = statement.query_row(values, |row| row.get(0)).optional()?;
        Ok(match stop_requested {
            Some(false) => Renewal::Held,
            Some(true) => Renewal::StopRequested,
            None => Renewal::Lost,
        })
    };
    held.iter().map(&mut renew).collect()
}

/// Erases jobs; says which of them were. Their blobs are marked, and erased by the next sweep.
pub(super) fn remove(session: &mut Session, removals: &[Removal]) -> Result<Vec<bool>, Fault> {
    removals.iter().map(|removal| remove_one(session, removal)).collect()
}

fn remove_one(session: &mut Session, removal: &Removal) -> Result<bool, Fault> {
    let (conn, key) = (&session.conn, &removal.key);
    let mut statement = conn.prepare_cached(
        "DELETE FROM jobs WHERE tenant = ?1 AND id = ?2 AND state = ?3 AND wake_at = ?4 RETURNING n, queue",
    )?;
    let values =
        params![key.tenant.as_str(), key.id.as_bytes(), row::state_code(removal.state), removal.wake_at.as_millis()];
    let erased = statement.query_row(values, |row| {
        let mut cells = Cells::of(row);
        Ok(cells.int().and_then(|n| Ok((n, cells.parsed()?))))
    });
    let Some((n, queue)) = erased.optional()?.transpose()? else { return Ok(false) };
    bodies::remove(conn, n)?;
    logs::remove(conn, n)?;
    blobs::disown(conn, key)?;
    session.counts.removed(key, &queue, removal.state);
    Ok(true)
}
