//! Workers killed and frozen under a load, and how long it takes until their jobs run again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use gristmill_common::{
    State, Timestamp, WorkerId,
    job::{Job, JobKey},
};
use gristmill_storage::{DueScan, Store};
use gristmill_testkit::{Kind, World};

use super::{LOOK_EVERY, PATIENCE, builder, judge, store_of};
use crate::{load::Load, tally::Tally};

/// How long a lease holds: what a worker has unless it is told otherwise.
const LEASE: Duration = Duration::from_secs(10);
/// Within so long after the lease its jobs run again: the promise.
const PROMISED: Duration = Duration::from_secs(2);
/// For so long at most RabbitMQ gives messages to a worker that is frozen: three heartbeats. What it was given meanwhile
/// comes to the others then.
const DEAF: Duration = Duration::from_secs(15);
/// What a busy machine may add. The figure is printed, so that nobody is deceived.
const SLACK: Duration = Duration::from_secs(3);
/// How long a worker is frozen: longer than its lease.
const FROZEN: Duration = Duration::from_secs(15);
/// How many jobs are accepted after a worker was thawed.
const AFTER: usize = 150;
const LONGEST_MS: u64 = 6_000;
/// Enough that one worker can run everything: else jobs wait for it, and not for a rescue.
const CONCURRENCY: usize = 256;
const MOST: usize = 1_000;

/// Kills a worker, and freezes another.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let builder = builder()?.count(Kind::Api, 1).count(Kind::Worker, 1).with("worker.concurrency", CONCURRENCY);
    let mut fleet = builder.start(World::new().await?).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    let first = worker_of(&some_run(&*store, None, 10).await?)?;
    fleet.add(Kind::Worker).await?;
    let second = worker_of(&some_run(&*store, Some(first), 5).await?)?;

    fleet.process(Kind::Worker, 0).kill().await?;
    tally.injected("worker killed");
    its_jobs(&*store, first, "killed", LEASE + PROMISED, tally).await?;
    fleet.restart(Kind::Worker, 0).await?;
    // The worker that was killed comes back as another.
    some_run(&*store, Some(second), 5).await?;
    nobody_was_rescued(&*store).await?;

    fleet.process(Kind::Worker, 1).freeze()?;
    tally.injected("worker frozen");
    let began = Instant::now();
    its_jobs(&*store, second, "frozen", DEAF + PROMISED, tally).await?;
    tokio::time::sleep(FROZEN.saturating_sub(began.elapsed())).await;
    fleet.process(Kind::Worker, 1).thaw()?;
    // It wakes under leases that others have now, and has a moment to do harm.
    load.reaches(load.accepted() + AFTER).await?;
    judge("workers", load, &*store, tally).await
}

fn worker_of(running: &BTreeMap<JobKey, Job>) -> anyhow::Result<WorkerId> {
    running.values().next().and_then(|job| job.worker).context("a running job has no worker")
}

/// Waits until every job that this worker had was claimed again, or has ended, and prints how long the last one took.
async fn its_jobs(
    store: &dyn Store,
    worker: WorkerId,
    what: &str,
    promised: Duration,
    tally: &Tally,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let had: Vec<Job> = runs(store).await?.into_values().filter(|job| job.worker == Some(worker)).collect();
    let keys: Vec<JobKey> = had.iter().map(|job| job.key.clone()).collect();
    let (mut rescued, mut again) = (vec![None; had.len()], vec![None; had.len()]);
    while again.contains(&None) {
        for (place, job) in store.jobs(&keys).await?.into_iter().enumerate() {
            let before = &had[place];
            if job.as_ref().is_none_or(|job| job.lease != before.lease) {
                rescued[place].get_or_insert_with(|| began.elapsed());
            }
            if job.is_none_or(|job| job.claims > before.claims || job.state.is_terminal()) {
                again[place].get_or_insert_with(|| began.elapsed());
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("jobs of a worker that was {what} are stuck");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let last = |times: Vec<Option<Duration>>| times.into_iter().flatten().max().unwrap_or_default();
    let (number, rescued, again) = (had.len(), last(rescued), last(again));
    println!(
        "  workers: one {what} with {number} jobs: the last is rescued after {rescued:.1?}, and runs again after {again:.1?}; promised are {promised:?}"
    );
    if again > promised + SLACK {
        tally.late("workers", &format!("the last job of a worker that was {what} runs again after {again:?}"));
    }
    Ok(())
}

/// Waits until so many jobs run that this worker does not have.
async fn some_run(store: &dyn Store, not_on: Option<WorkerId>, number: usize) -> anyhow::Result<BTreeMap<JobKey, Job>> {
    let asked = Instant::now();
    loop {
        let mut running = runs(store).await?;
        running.retain(|_, job| job.worker != not_on);
        if running.len() >= number {
            return Ok(running);
        }
        if asked.elapsed() > PATIENCE {
            bail!("only {} jobs run", running.len());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no job runs that was rescued: one that loses another worker is claimed alone from then on, and waits for
/// others like it.
async fn nobody_was_rescued(store: &dyn Store) -> anyhow::Result<()> {
    let asked = Instant::now();
    while runs(store).await?.values().any(|job| job.rescues > 0) {
        ensure!(asked.elapsed() < PATIENCE, "jobs that were rescued go on and on");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn runs(store: &dyn Store) -> anyhow::Result<BTreeMap<JobKey, Job>> {
    let scan = DueScan { state: State::Running, lane: None, until: Timestamp::MAX, after: None, limit: MOST };
    Ok(store.due(&scan).await?.into_iter().map(|job| (job.key.clone(), job)).collect())
}
