//! (h) A fleet: the same product as processes of their own behind nginx, on RabbitMQ and a MongoDB server. All of
//! them share the machine with the load, so the figures that count are those that no other process blurs: round
//! trips, messages and processor time for 1,000 jobs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gristmill_common::http::{Counts, StatsView};
use gristmill_testkit::{Fleet, FleetBuilder, Kind, World};
use serde_json::json;

use crate::{
    figures::{Figures, Row, Section, median},
    idle::Lone,
    load::{self, Connection, seconds_since},
    stage::Stage,
};

/// Submissions that nobody runs, at 64 connections.
pub(crate) const SUBMITTED: Row = row("submissions behind nginx, 64 connections, no worker", "jobs/s");
/// Calls of the store's server, by all processes, over the whole life of a job.
pub(crate) const ROUND_TRIPS: Row = row("submitted and run at 256 connections: store round trips for 1,000 jobs", "");
/// Dispatches published, by all processes.
pub(crate) const DISPATCHES: Row = row("submitted and run at 256 connections: dispatches for 1,000 jobs", "");
/// Processor time of our own processes over the whole life of a job.
pub(crate) const PROCESSOR: Row =
    row("submitted and run at 256 connections: processor time of our processes for a job", "µs");

const RUN_MEANWHILE: Row = row("submitted and run at 256 connections, 2 workers", "jobs/s");
const FRAMES: Row = row("submitted and run at 256 connections: broker frames for 1,000 jobs", "");
const BURNED: [(Row, usize); 3] = [
    (row("waiting no-op jobs run, 1 worker", "jobs/s"), 1),
    (row("waiting no-op jobs run, 2 workers", "jobs/s"), 2),
    (row("waiting no-op jobs run, 4 workers", "jobs/s"), 4),
];
const ACCEPTED: Row = row("one job at a time: submit to 202", "ms");
const DONE: Row = row("one job at a time: submit to done", "ms");

/// As many as a batch may have.
const BATCH: usize = 1_000;
/// How often the fleet is asked how far it is: counting costs the store.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// After this it is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

const fn row(what: &'static str, unit: &'static str) -> Row {
    Row { section: Section::Fleet, what, unit }
}

/// One round; each row on a fleet with a database and a virtual host of its own.
///
/// # Errors
/// A fleet could not be started, or did not do what it should.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    submissions(stage, figures).await?;
    whole_lives(stage, figures).await?;
    for (row, workers) in BURNED {
        figures.record(row, burn_down(stage, workers).await?);
    }
    one_at_a_time(stage, figures).await
}

async fn start(stage: &Stage, workers: usize) -> anyhow::Result<Fleet> {
    let builder = FleetBuilder::new(stage.program()).count(Kind::Worker, workers);
    builder.start(World::new().await?).await
}

async fn submissions(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let fleet = start(stage, 0).await?;
    let sample = load::drive(address(&fleet)?, &stage.submission, 64, &stage.plan).await?;
    figures.record_sample(SUBMITTED, sample);
    Ok(())
}

async fn whole_lives(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let mut fleet = start(stage, 2).await?;
    let before = Spent::by(&mut fleet).await?;
    let began = Instant::now();
    load::drive(address(&fleet)?, &stage.submission, 256, &stage.plan).await?;
    let ended = all_have_ended(&fleet).await?;
    let jobs = ended.succeeded as f64;
    figures.record(RUN_MEANWHILE, jobs / seconds_since(began));
    let spent = Spent::by(&mut fleet).await?;
    let thousands = jobs / 1_000.0;
    figures.record(ROUND_TRIPS, (spent.round_trips - before.round_trips) / thousands);
    figures.record(DISPATCHES, (spent.dispatches - before.dispatches) / thousands);
    figures.record(FRAMES, (spent.frames - before.frames) / thousands);
    figures.record(PROCESSOR, 1e6 * (spent.processor - before.processor).as_secs_f64() / jobs);
    Ok(())
}

/// How many a second are run, from the first that has ended to the last.
async fn burn_down(stage: &Stage, workers: usize) -> anyhow::Result<f64> {
    let mut fleet = start(stage, 0).await?;
    let jobs = stage.plan.burned_by_fleet;
    let mut connection = Connection::open(address(&fleet)?).await?;
    let batch = json!({ "jobs": vec![json!({ "type": "sleep", "payload": { "ms": 0 } }); BATCH] }).to_string();
    let batch = load::request("POST", "/api/v1/jobs/batch", &[load::JSON], batch.as_bytes());
    for _ in 0..jobs / BATCH {
        let status = connection.exchange(&batch).await?;
        ensure!(status == 202, "a batch was answered with {status}");
    }
    for _ in 0..workers {
        fleet.add(Kind::Worker).await?;
    }
    let (began, had_run) = loop {
        let counts = counts(&fleet).await?;
        if counts.succeeded > 0 {
            break (Instant::now(), counts.succeeded);
        }
    };
    let ended = all_have_ended(&fleet).await?;
    Ok((ended.succeeded - had_run) as f64 / seconds_since(began))
}

async fn one_at_a_time(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    let fleet = start(stage, 2).await?;
    let mut connection = Connection::open(address(&fleet)?).await?;
    let (mut accepted, mut done) = (Vec::new(), Vec::new());
    for _ in 0..stage.plan.single {
        let lone = Lone::run(&mut connection).await?;
        accepted.push(lone.accepted_ms);
        done.push(lone.done_ms);
    }
    for (row, values) in [(ACCEPTED, &accepted), (DONE, &done)] {
        figures.record(row, median(values).context("there were no jobs")?);
    }
    Ok(())
}

/// What the processes of a fleet have spent since they were started.
struct Spent {
    round_trips: f64,
    dispatches: f64,
    frames: f64,
    processor: Duration,
}

impl Spent {
    async fn by(fleet: &mut Fleet) -> anyhow::Result<Self> {
        let mut spent = Self { round_trips: 0.0, dispatches: 0.0, frames: 0.0, processor: Duration::ZERO };
        for kind in Kind::ALL {
            for place in 0..fleet.processes(kind).len() {
                let process = fleet.process(kind, place);
                spent.processor += process.processor_time()?;
                let mut connection = Connection::open(address_in(&process.url().await?)?).await?;
                ensure!(connection.exchange(&load::request("GET", "/metrics", &[], b"")).await? == 200, "no metrics");
                let metrics = std::str::from_utf8(connection.body()).context("the metrics are no text")?;
                spent.round_trips += sum(metrics, "gristmill_store_round_trips_total");
                spent.dispatches += sum(metrics, "gristmill_dispatches_published_total");
                spent.frames += sum(metrics, "gristmill_broker_frames_total");
            }
        }
        Ok(spent)
    }
}

/// The sum of a metric over its labels, out of the Prometheus text format.
fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
    });
    values.sum()
}

async fn all_have_ended(fleet: &Fleet) -> anyhow::Result<Counts> {
    let began = Instant::now();
    loop {
        let counts = counts(fleet).await?;
        ensure!(counts.failed + counts.cancelled == 0, "jobs failed that do nothing");
        if counts.queued + counts.running + counts.scheduled == 0 {
            return Ok(counts);
        }
        ensure!(began.elapsed() < PATIENCE, "only {} jobs have run", counts.succeeded);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn counts(fleet: &Fleet) -> anyhow::Result<Counts> {
    let stats = load::request("GET", "/api/v1/stats", &[], b"");
    let stats: StatsView = Connection::open(address(fleet)?).await?.ask(&stats, 200).await?;
    Ok(stats.counts)
}

fn address(fleet: &Fleet) -> anyhow::Result<std::net::SocketAddr> {
    address_in(&fleet.url())
}

fn address_in(url: &str) -> anyhow::Result<std::net::SocketAddr> {
    Ok(url.trim_start_matches("http://").trim_end_matches('/').parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let metrics = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 5\nb 7\n";
        assert_eq!((sum(metrics, "a"), sum(metrics, "b"), sum(metrics, "c")), (5.0, 7.0, 0.0));
    }
}
