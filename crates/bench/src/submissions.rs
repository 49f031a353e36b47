//! (c) Durable submissions over HTTP: each is on the disk before it is answered with 202.

use gristmill_common::http::{Counts, StatsView};

use crate::{
    figures::{Figures, Row, Section},
    load::{self, Connection},
    program::Program,
    stage::{Stage, WORKER_OFF},
};

/// Submissions that nobody runs, at 64 connections.
pub(crate) const QUIET_64: Row = row("64 connections, worker off");
/// Submissions while a worker runs what was submitted, at 64 connections.
pub(crate) const DRAINING: Row = row("64 connections, while the worker drains");

const SETTLED: Row = row("64 connections, while the worker drains: run meanwhile");
const QUIET: [(Row, usize); 3] =
    [(row("1 connection, worker off"), 1), (QUIET_64, 64), (row("256 connections, worker off"), 256)];
/// What a busy machine does not blur.
const PROCESSOR: Row = Row {
    section: Section::Submissions,
    what: "processor time of the server for 1,000 jobs, 64 connections, worker off",
    unit: "ms",
};

const fn row(what: &'static str) -> Row {
    Row { section: Section::Submissions, what, unit: "jobs/s" }
}

/// One round; each row on a server and a data folder of its own.
///
/// # Errors
/// A server could not be started, or answered with anything but 202.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    for (row, connections) in QUIET {
        let data = stage.fresh_folder()?;
        let server = stage.server(&data, &[WORKER_OFF]).await?;
        figures.record_sample(row, load::drive(server.address(), &stage.submission, connections, &stage.plan).await?);
        if row == QUIET_64 {
            let spent = server.spent_ms()?;
            figures.record(PROCESSOR, spent / (counts(&server).await?.queued as f64 / 1_000.0));
        }
        server.kill().await?;
    }
    let data = stage.fresh_folder()?;
    let server = stage.server(&data, &[]).await?;
    figures.record_sample(DRAINING, load::drive(server.address(), &stage.submission, 64, &stage.plan).await?);
    let seconds = (stage.plan.warm_up + stage.plan.counted).as_secs_f64();
    figures.record(SETTLED, counts(&server).await?.succeeded as f64 / seconds);
    server.kill().await
}

async fn counts(server: &Program) -> anyhow::Result<Counts> {
    let stats = load::request("GET", "/api/v1/stats", &[], b"");
    let stats: StatsView = Connection::open(server.address()).await?.ask(&stats, 200).await?;
    Ok(stats.counts)
}
