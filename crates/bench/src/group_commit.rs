//! (b) A bare SQLite group-commit loop: the rows of the submission, in the tables, with the indexes and with the
//! durability of the product, and nothing else. No HTTP, no JSON, no checks, no savepoints.
//!
//! The product itself makes the database and the first job; the loop stores copies of that job's rows under fresh
//! ids. So the rows are the product's, whatever its schema is.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use gristmill_common::JobId;
use rusqlite::{Connection, Statement, params_from_iter, types::Value};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    figures::{Figures, Row, Section},
    load::{self, Times, Window},
    stage::{Stage, WORKER_OFF},
};

/// Jobs stored for 64 clients.
pub(crate) const LOOP: Row =
    Row { section: Section::GroupCommit, what: "the same rows stored, 64 clients", unit: "jobs/s" };

const CLIENTS: usize = 64;
/// The most rows in one commit, as in the product.
const BATCH: usize = 1_000;
/// How often the log's pages are moved, and how long the log may become before it is started over, in pages: as in
/// the product.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(200);
const RESTART_AT: i64 = 16 * 1024;

/// A job to be stored, and who waits for it.
type Insert = (JobId, oneshot::Sender<()>);

/// One round.
///
/// # Errors
/// The database is not what it is expected to be.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let data = stage.fresh_folder()?;
    let server = stage.server(&data, &[WORKER_OFF]).await?;
    let status = load::Connection::open(server.address()).await?.exchange(&stage.submission).await?;
    ensure!(status == 202, "the first job was answered with {status}");
    server.terminate().await?;

    let path = data.path().join("gristmill.db");
    let (sender, receiver) = mpsc::channel(CLIENTS);
    let writer = Writer::open(&path)?;
    let stop = Arc::new(AtomicBool::new(false));
    let long = Arc::clone(&writer.long);
    let checkpointing = {
        let (conn, stop) = (connect(&path)?, Arc::clone(&stop));
        thread::spawn(move || checkpoint(&conn, &long, &stop))
    };
    let writing = thread::spawn(move || writer.run(receiver));

    let window = Window::ahead(&stage.plan);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(sender.clone(), window));
    }
    drop(sender);
    let mut all = Vec::with_capacity(CLIENTS);
    while let Some(ended) = clients.join_next().await {
        all.push(ended??);
    }
    joined(writing)??;
    stop.store(true, Ordering::Relaxed);
    joined(checkpointing)??;
    figures.record_sample(LOOP, window.sample(&all)?);
    Ok(())
}

async fn client(writer: mpsc::Sender<Insert>, window: Window) -> anyhow::Result<Times> {
    let mut times = Times::begin(window);
    loop {
        let (reply, stored) = oneshot::channel();
        writer.send((JobId::fresh(), reply)).await.context("the writer has stopped")?;
        stored.await.context("the writer has stopped")?;
        if !times.answered() {
            return Ok(times);
        }
    }
}

/// The one thread that writes.
struct Writer {
    conn: Connection,
    job: Template,
    payload: Template,
    /// The log has become long.
    long: Arc<AtomicBool>,
}

/// A row to be copied.
struct Template {
    sql: String,
    /// Its cells, and where among them those are that each copy has for itself.
    cells: Vec<Value>,
    own: usize,
}

impl Writer {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let conn = connect(path)?;
        let job = Template::of(&conn, "jobs", "n", "id")?;
        let payload = Template::of(&conn, "payloads", "", "job")?;
        Ok(Self { conn, job, payload, long: Arc::default() })
    }

    fn run(mut self, mut waiting: mpsc::Receiver<Insert>) -> anyhow::Result<()> {
        let conn = &self.conn;
        let [mut begin, mut commit] = [conn.prepare("BEGIN IMMEDIATE")?, conn.prepare("COMMIT")?];
        let mut job = conn.prepare(&self.job.sql)?;
        let mut payload = conn.prepare(&self.payload.sql)?;
        let mut count = conn.prepare("UPDATE job_counts SET n = n + ?1")?;
        let mut replies = Vec::with_capacity(BATCH);
        while let Some(first) = waiting.blocking_recv() {
            let mut next = Some(first);
            begin.execute([])?;
            while let Some((id, reply)) = next {
                self.job.insert(&mut job, Value::Blob(id.as_bytes().to_vec()))?;
                self.payload.insert(&mut payload, Value::Integer(conn.last_insert_rowid()))?;
                replies.push(reply);
                next = if replies.len() < BATCH { waiting.try_recv().ok() } else { None };
            }
            count.execute([replies.len() as i64])?;
            commit.execute([])?;
            for reply in replies.drain(..) {
                // A client that has gone away needs no answer.
                let _ = reply.send(());
            }
            if self.long.swap(false, Ordering::Relaxed) {
                conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
            }
        }
        Ok(())
    }
}

impl Template {
    /// Of the one row there is. `left_out` names the column that SQLite fills in, `own` the one that tells copies
    /// apart.
    fn of(conn: &Connection, table: &str, left_out: &str, own: &str) -> anyhow::Result<Self> {
        let mut statement = conn.prepare(&format!("SELECT * FROM {table}"))?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let cells = statement.query_row([], |row| (0..columns.len()).map(|place| row.get(place)).collect());
        let cells: Vec<Value> = cells.with_context(|| format!("there is no row in {table}"))?;
        let (columns, cells): (Vec<_>, Vec<_>) =
            columns.into_iter().zip(cells).filter(|(column, _)| column != left_out).unzip();
        let own = columns.iter().position(|column| column == own).context("a column is missing")?;
        let marks = vec!["?"; columns.len()].join(", ");
        Ok(Self { sql: format!("INSERT INTO {table} ({}) VALUES ({marks})", columns.join(", ")), cells, own })
    }

    fn insert(&mut self, statement: &mut Statement<'_>, own: Value) -> anyhow::Result<()> {
        self.cells[self.own] = own;
        statement.execute(params_from_iter(&self.cells))?;
        Ok(())
    }
}

/// With the settings of the product.
fn connect(path: &Path) -> anyhow::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    ensure!(mode == "wal", "the journal is {mode}");
    conn.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = -8192;",
    )?;
    Ok(conn)
}

fn checkpoint(conn: &Connection, long: &AtomicBool, stop: &AtomicBool) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(CHECKPOINT_EVERY);
        let pages: i64 = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
        if pages >= RESTART_AT {
            long.store(true, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn joined<T>(thread: thread::JoinHandle<T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))
}
