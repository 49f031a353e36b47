//! A job as a row: which column holds what, in which order, in which form.

use gristmill_common::{
    JobId, State, Timestamp,
    job::{Job, JobKey, Progress},
};
use rusqlite::{Connection, Row, ToSql};

use super::{cells::Cells, fault::Fault};
use crate::unreadable;

/// The columns that [`read`] reads, in its order.
macro_rules! columns {
    () => {
        "jobs.n, jobs.tenant, jobs.id, job_type, queue, priority, state, wake_at, attempt, max_attempts, claims, \
         rescues, rings, lease, worker, settled_by, cancel_requested, backoff, timeout_ms, deadline, run_at, \
         created_at, started_at, finished_at, failed_at, percent, message, error, tags, trace, fingerprint, \
         version, history, gates"
    };
}
pub(super) use columns;

/// The number that stands for a state in the database.
pub(super) fn state_code(state: State) -> i64 {
    match state {
        State::Scheduled => 0,
        State::Queued => 1,
        State::Running => 2,
        State::Succeeded => 3,
        State::Failed => 4,
        State::Cancelled => 5,
    }
}

/// A limit as SQLite takes it.
pub(super) fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

/// The lane of a job as the duties' index has it.
pub(super) fn lane_text(job: &Job) -> String {
    if job.state == State::Queued { job.lane().to_text() } else { String::new() }
}

/// Reads a job, whose columns come next, and its number.
pub(super) fn read(cells: &mut Cells<'_>) -> Result<(i64, Job), Fault> {
    let n = cells.int()?;
    let job = Job {
        key: JobKey { tenant: cells.parsed()?, id: JobId::from_bytes(cells.id()?) },
        job_type: cells.parsed()?,
        queue: cells.parsed()?,
        priority: cells.priority()?,
        state: cells.state()?,
        wake_at: cells.time()?,
        attempt: cells.unsigned()?,
        max_attempts: cells.unsigned()?,
        claims: cells.unsigned()?,
        rescues: cells.unsigned()?,
        rings: cells.unsigned()?,
        lease: cells.array_or_none()?.map(gristmill_common::LeaseId::from_bytes),
        worker: cells.array_or_none()?.map(gristmill_common::WorkerId::from_bytes),
        settled_by: cells.array_or_none()?.map(gristmill_common::LeaseId::from_bytes),
        cancel_requested: cells.int()? != 0,
        backoff: cells.json()?,
        timeout_ms: cells.unsigned()?,
        deadline: cells.time_or_none()?,
        run_at: cells.time_or_none()?,
        created_at: cells.time()?,
        started_at: cells.time_or_none()?,
        finished_at: cells.time_or_none()?,
        failed_at: cells.time_or_none()?,
        progress: Progress { percent: cells.unsigned()?, message: cells.text_or_none()?.map(str::to_owned) },
        error: cells.json_or_none()?,
        tags: cells.json_or_none()?.unwrap_or_default(),
        trace: cells.text_or_none()?.map(str::to_owned),
        fingerprint: cells.array_or_none()?,
        version: cells.unsigned()?,
        history: cells.json()?,
        gates: cells.json_or_none()?,
    };
    Ok((n, job))
}

/// Reads one of many jobs, whose columns come first. One that cannot be read is left out, so that the others do not wait
/// for it.
pub(super) fn read_among(row: &Row<'_>) -> Result<Option<(i64, Job)>, Fault> {
    match read(&mut Cells::of(row)) {
        Ok(read) => Ok(Some(read)),
        Err(fault) => {
            let mut cells = Cells::of(row);
            let n = cells.int()?;
            cells.skip();
            left_out(fault, || cells.id().map_or_else(|_| format!("row {n}"), |id| JobId::from_bytes(id).to_string()))
        }
    }
}

/// Leaves a job out that cannot be read, and says so; every other fault stays one.
pub(super) fn left_out<T>(fault: Fault, id: impl FnOnce() -> String) -> Result<Option<T>, Fault> {
    match fault {
        Fault::Corrupt(reason) => {
            unreadable::leave_out(&id(), &reason);
            Ok(None)
        }
        fault => Err(fault),
    }
}

/// Stores a new row and returns its number; `None` if the job's key is taken.
pub(super) fn insert(conn: &Connection, job: &Job) -> Result<Option<i64>, Fault> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO jobs (tenant, id, job_type, queue, priority, state, lane, wake_at, attempt, max_attempts, \
         claims, rescues, rings, lease, worker, settled_by, cancel_requested, backoff, timeout_ms, deadline, \
         run_at, created_at, started_at, finished_at, failed_at, percent, message, error, tags, trace, \
         fingerprint, version, history, gates) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
         ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34) ON CONFLICT (tenant, id) DO NOTHING",
    )?;
    let tags = if job.tags.is_empty() { None } else { Some(json(&job.tags)?) };
    let stored = statement.execute(rusqlite::params![
        job.key.tenant.as_str(),
        job.key.id.as_bytes(),
        job.job_type.as_str(),
        job.queue.as_str(),
        job.priority.band() as i64,
        state_code(job.state),
        lane_text(job),
        job.wake_at.as_millis(),
        job.attempt,
        job.max_attempts,
        job.claims,
        job.rescues,
        job.rings,
        job.lease.as_ref().map(|lease| lease.as_bytes()),
        job.worker.as_ref().map(|worker| worker.as_bytes()),
        job.settled_by.as_ref().map(|lease| lease.as_bytes()),
        job.cancel_requested,
        json(&job.backoff)?,
        signed(job.timeout_ms),
        job.deadline.map(Timestamp::as_millis),
        job.run_at.map(Timestamp::as_millis),
        job.created_at.as_millis(),
        job.started_at.map(Timestamp::as_millis),
        job.finished_at.map(Timestamp::as_millis),
        job.failed_at.map(Timestamp::as_millis),
        job.progress.percent,
        job.progress.message,
        job.error.as_ref().map(json).transpose()?,
        tags,
        job.trace,
        job.fingerprint.as_ref(),
        signed(job.version),
        json(&job.history)?,
        job.gates.as_ref().map(json).transpose()?,
    ])?;
    Ok((stored == 1).then(|| conn.last_insert_rowid()))
}

/// What a change may alter; `state`, `lane` and `wake_at`, and `failed_at` and `deadline`, only where they
/// differ, since each of these costs the rewriting of an index.
macro_rules! update {
    ($more:literal) => {
        concat!(
            "UPDATE jobs SET attempt = ?2, max_attempts = ?3, claims = ?4, rescues = ?5, rings = ?6, lease = ?7, \
             worker = ?8, settled_by = ?9, cancel_requested = ?10, started_at = ?11, finished_at = ?12, \
             percent = ?13, message = ?14, error = ?15, version = ?16, history = ?17",
            $more,
            " WHERE n = ?1"
        )
    };
}

/// Writes a row again, after a change from `before`.
pub(super) fn update(conn: &Connection, n: i64, before: &Indexed, job: &Job) -> Result<(), Fault> {
    let (version, history) = (signed(job.version), json(&job.history)?);
    let error = job.error.as_ref().map(json).transpose()?;
    let (lease, worker) = (job.lease.as_ref().map(|id| id.as_bytes()), job.worker.as_ref().map(|id| id.as_bytes()));
    let settled_by = job.settled_by.as_ref().map(|id| id.as_bytes());
    let (started_at, finished_at) =
        (job.started_at.map(Timestamp::as_millis), job.finished_at.map(Timestamp::as_millis));
    let (state, lane, wake_at) = (state_code(job.state), lane_text(job), job.wake_at.as_millis());
    let failed_at = job.failed_at.map(Timestamp::as_millis);
    let deadline = job.deadline.map(Timestamp::as_millis);
    let values: [&dyn ToSql; 22] = [
        &n,
        &job.attempt,
        &job.max_attempts,
        &job.claims,
        &job.rescues,
        &job.rings,
        &lease,
        &worker,
        &settled_by,
        &job.cancel_requested,
        &started_at,
        &finished_at,
        &job.progress.percent,
        &job.progress.message,
        &error,
        &version,
        &history,
        &state,
        &lane,
        &wake_at,
        &failed_at,
        &deadline,
    ];
    let after = Indexed::of(job);
    let (sql, used) = if after == *before {
        (update!(""), 17)
    } else if (after.failed_at, after.deadline) == (before.failed_at, before.deadline) {
        (update!(", state = ?18, lane = ?19, wake_at = ?20"), 20)
    } else {
        (update!(", state = ?18, lane = ?19, wake_at = ?20, failed_at = ?21, deadline = ?22"), 22)
    };
    conn.prepare_cached(sql)?.execute(&values[..used])?;
    Ok(())
}

/// The fields of a job that an index holds and a change may alter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Indexed {
    pub(super) state: State,
    wake_at: Timestamp,
    failed_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
}

impl Indexed {
    pub(super) fn of(job: &Job) -> Self {
        Self { state: job.state, wake_at: job.wake_at, failed_at: job.failed_at, deadline: job.deadline }
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| Fault::Corrupt(error.to_string()))
}

/// SQLite has signed numbers only. No timeout and no version comes near the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
