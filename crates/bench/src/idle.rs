//! (e) One job at a time, on a server that has nothing else to do: how long until it runs, and until its end is
//! known; beside what the disk takes to sync once, since a job is on the disk three times before it is done.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use gristmill_common::{State, Timestamp, http::JobView};
use serde_json::json;

use crate::{
    figures::{Figures, Row, Section, median},
    load::{self, Connection, seconds_since},
    stage::Stage,
};

/// From sending the job to knowing its end, by the client's clock.
pub(crate) const DONE: Row = row("submit to done");
/// Writing 4 KiB and waiting for the disk.
pub(crate) const SYNC: Row = row("one disk sync: 4 KiB written, then fdatasync");

const ACCEPTED: Row = row("submit to 202");
const STARTED: Row = row("submit to start, by the job's own times (whole milliseconds, so the mean)");

/// The pause between two jobs.
const PAUSE: Duration = Duration::from_millis(20);
const PAGE: [u8; 4096] = [0x5a; 4096];

const fn row(what: &'static str) -> Row {
    Row { section: Section::Idle, what, unit: "ms" }
}

/// What became of one job, sent to servers that have nothing else to do.
pub(crate) struct Lone {
    pub(crate) accepted_ms: f64,
    pub(crate) done_ms: f64,
    pub(crate) job: JobView,
}

impl Lone {
    /// After a pause, a job that does nothing.
    ///
    /// # Errors
    /// It did not succeed.
    pub(crate) async fn run(connection: &mut Connection) -> anyhow::Result<Self> {
        let body = json!({ "type": "sleep", "payload": { "ms": 0 } }).to_string();
        let submission = load::request("POST", "/api/v1/jobs", &[load::JSON], body.as_bytes());
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        let job: JobView = connection.ask(&submission, 202).await?;
        let accepted_ms = 1_000.0 * seconds_since(began);
        let wait = load::request("GET", &format!("/api/v1/jobs/{}", job.id), &["prefer: wait=5"], b"");
        let job: JobView = connection.ask(&wait, 200).await?;
        let done_ms = 1_000.0 * seconds_since(began);
        ensure!(job.state == State::Succeeded, "a job that does nothing is {}", job.state);
        Ok(Self { accepted_ms, done_ms, job })
    }
}

/// One round: medians over its jobs.
///
/// # Errors
/// A job did not succeed.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let data = stage.fresh_folder()?;
    let server = stage.server(&data, &[]).await?;
    let mut connection = Connection::open(server.address()).await?;
    let disk = Disk::prepare(&data.path().join("sync"), stage.plan.single)?;
    let (mut accepted, mut done, mut started, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..stage.plan.single {
        let Lone { accepted_ms, done_ms, job } = Lone::run(&mut connection).await?;
        accepted.push(accepted_ms);
        done.push(done_ms);
        started.push(millis(job.created_at, job.started_at.context("a job ended without a start")?));
        syncs.push(disk.sync(number)?);
    }
    for (row, values) in [(ACCEPTED, &accepted), (DONE, &done), (SYNC, &syncs)] {
        figures.record(row, median(values).context("there were no jobs")?);
    }
    figures.record(STARTED, started.iter().sum::<f64>() / started.len() as f64);
    server.kill().await
}

fn millis(earlier: Timestamp, later: Timestamp) -> f64 {
    later.since(earlier).as_secs_f64() * 1_000.0
}

/// A file in the data folder whose pages exist already, as those of a log that is written again.
struct Disk(File);

impl Disk {
    fn prepare(path: &Path, pages: usize) -> anyhow::Result<Self> {
        let file = File::create(path)?;
        file.write_all_at(&PAGE.repeat(pages), 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    /// Writes one page; how long that took, in milliseconds.
    fn sync(&self, page: usize) -> anyhow::Result<f64> {
        let began = Instant::now();
        self.0.write_all_at(&PAGE, (page * PAGE.len()) as u64)?;
        self.0.sync_data()?;
        Ok(1_000.0 * seconds_since(began))
    }
}
