//! (d) A burn-down: jobs that do nothing wait in the store; then a worker comes, and runs them all.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gristmill_common::http::StatsView;
use serde_json::json;

use crate::{
    figures::{Figures, Row, Section},
    load::{self, Connection, seconds_since},
    stage::{Stage, WORKER_OFF},
};

/// Jobs run, from the start of the program to the last one's end.
pub(crate) const BURNED: Row = row("no-op jobs run, from a full store", "jobs/s");

const SUBMITTED: Row = row("the same jobs submitted before, 1,000 at a time", "jobs/s");
const FIRST: Row = row("from the start of the program to the first job run", "s");
const COMMITS: Row = row("commits for 1,000 jobs run", "commits");
const PROCESSOR: Row = row("processor time of the server for 1,000 jobs run", "ms");
const WRITES: Row = row("writes of the store for 1,000 jobs run", "writes");

/// As many as a batch may have.
const BATCH: usize = 1_000;
/// How often the server is asked how far it is. Answering takes it some milliseconds, so it is asked often only
/// at both ends.
const ASK_RARELY: Duration = Duration::from_millis(500);
const ASK_OFTEN: Duration = Duration::from_millis(50);
/// After this it is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

const fn row(what: &'static str, unit: &'static str) -> Row {
    Row { section: Section::BurnDown, what, unit }
}

/// One round.
///
/// # Errors
/// Not every job succeeded.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let data = stage.fresh_folder()?;
    let jobs = stage.plan.burned as u64;

    let server = stage.server(&data, &[WORKER_OFF]).await?;
    let mut connection = Connection::open(server.address()).await?;
    let batch = json!({ "jobs": vec![json!({ "type": "sleep", "payload": { "ms": 0 } }); BATCH] }).to_string();
    let batch = load::request("POST", "/api/v1/jobs/batch", &[load::JSON], batch.as_bytes());
    let began = Instant::now();
    for _ in 0..stage.plan.burned / BATCH {
        let status = connection.exchange(&batch).await?;
        ensure!(status == 202, "a batch was answered with {status}");
    }
    figures.record(SUBMITTED, jobs as f64 / seconds_since(began));
    ensure!(stats(&mut connection).await?.counts.queued == jobs, "not every job of a batch was accepted");
    drop(connection);
    server.terminate().await?;

    let (began, mut first) = (Instant::now(), None);
    let server = stage.server(&data, &[]).await?;
    let mut connection = Connection::open(server.address()).await?;
    loop {
        let counts = stats(&mut connection).await?.counts;
        if counts.succeeded > 0 {
            first = first.or(Some(seconds_since(began)));
        }
        ensure!(counts.failed + counts.cancelled == 0, "jobs failed that do nothing");
        if counts.succeeded == jobs {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "only {} of {jobs} jobs have run", counts.succeeded);
        tokio::time::sleep(if (1..jobs * 9 / 10).contains(&counts.succeeded) { ASK_RARELY } else { ASK_OFTEN }).await;
    }
    figures.record(BURNED, jobs as f64 / seconds_since(began));
    figures.record(FIRST, first.context("no job has run")?);

    let status = connection.exchange(&load::request("GET", "/metrics", &[], b"")).await?;
    ensure!(status == 200, "the metrics were answered with {status}");
    let metrics = std::str::from_utf8(connection.body()).context("the metrics are no text")?;
    let thousands = jobs as f64 / 1_000.0;
    figures.record(PROCESSOR, server.spent_ms()? / thousands);
    figures.record(COMMITS, metric(metrics, "gristmill_store_batch_size_count")? / thousands);
    figures.record(WRITES, metric(metrics, "gristmill_store_batch_size_sum")? / thousands);
    server.kill().await
}

async fn stats(connection: &mut Connection) -> anyhow::Result<StatsView> {
    connection.ask(&load::request("GET", "/api/v1/stats", &[], b""), 200).await
}

/// A figure out of the Prometheus text format.
fn metric(metrics: &str, name: &str) -> anyhow::Result<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("there is no metric {name}"))?.parse()?)
}
