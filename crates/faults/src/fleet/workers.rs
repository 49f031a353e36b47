//! Workers killed and frozen under a load, and how long it takes until their jobs run again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gristmill_common::{
    State, Timestamp, WorkerId,
    job::{Job, JobKey},
};
use gristmill_storage::{DueScan, Store};
use gristmill_testkit::{Kind, World};

use super::{LOOK_EVERY, PATIENCE, builder, judge, load::Load, store_of};
use crate::tally::Tally;

/// How long a lease holds: what a worker has unless it is told otherwise.
const LEASE: Duration = Duration::from_secs(10);
/// Within so long after the lease its jobs run again: the promise.
const PROMISED: Duration = Duration::from_secs(2);
/// What a busy machine may add. The figure is printed, so that nobody is deceived.
const SLACK: Duration = Duration::from_secs(3);
/// How long a worker is frozen: longer than its lease.
const FROZEN: Duration = Duration::from_secs(15);
/// How many jobs are accepted after a worker was thawed.
const AFTER: usize = 150;
const LONGEST_MS: u64 = 6_000;
const MOST: usize = 1_000;

/// Kills a worker, and freezes another.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let mut fleet = builder()?.count(Kind::Api, 1).count(Kind::Worker, 1).start(World::new().await?).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    let first = worker_of(&some_run(&*store, None, 10).await?)?;
    fleet.add(Kind::Worker).await?;
    let second = worker_of(&some_run(&*store, Some(first), 5).await?)?;

    fleet.process(Kind::Worker, 0).kill().await?;
    tally.injected("worker killed");
    its_jobs(&*store, first, "killed", Goal::RunAgain, tally).await?;
    fleet.restart(Kind::Worker, 0).await?;
    // The worker that was killed comes back as another.
    some_run(&*store, Some(second), 5).await?;

    fleet.process(Kind::Worker, 1).freeze()?;
    tally.injected("worker frozen");
    let began = Instant::now();
    // RabbitMQ goes on giving it messages until it misses its heartbeats: some jobs are queued, and wait for it to wake.
    its_jobs(&*store, second, "frozen", Goal::Rescued, tally).await?;
    tokio::time::sleep(FROZEN.saturating_sub(began.elapsed())).await;
    fleet.process(Kind::Worker, 1).thaw()?;
    // It wakes under leases that others have now, and has a moment to do harm.
    load.reaches(load.accepted() + AFTER).await?;
    judge("workers", load, &*store, tally).await
}

fn worker_of(running: &BTreeMap<JobKey, Job>) -> anyhow::Result<WorkerId> {
    running.values().next().and_then(|job| job.worker).context("a running job has no worker")
}

/// What becomes of the jobs of a worker that is gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// Somebody may claim them.
    Rescued,
    /// Somebody has claimed them.
    RunAgain,
}

/// Waits until every job that this worker had is so far, or has ended, and prints how long the last one took.
async fn its_jobs(store: &dyn Store, worker: WorkerId, what: &str, goal: Goal, tally: &Tally) -> anyhow::Result<()> {
    let began = Instant::now();
    let had: Vec<Job> = runs(store).await?.into_values().filter(|job| job.worker == Some(worker)).collect();
    let keys: Vec<JobKey> = had.iter().map(|job| job.key.clone()).collect();
    let mut left: Vec<bool> = vec![true; had.len()];
    let mut worst = Duration::ZERO;
    while left.contains(&true) {
        for (place, job) in store.jobs(&keys).await?.into_iter().enumerate() {
            let before = &had[place];
            let is_there = job.is_none_or(|job| match goal {
                Goal::Rescued => job.lease != before.lease,
                Goal::RunAgain => job.claims > before.claims || job.state.is_terminal(),
            });
            if left[place] && is_there {
                left[place] = false;
                worst = began.elapsed();
            }
        }
        if began.elapsed() > PATIENCE {
            bail!("jobs of a worker that was {what} are stuck");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (number, promised) = (had.len(), LEASE + PROMISED);
    let done = if goal == Goal::Rescued { "is rescued" } else { "runs again" };
    println!("  a worker {what} with {number} jobs: the last {done} after {worst:.1?}; promised are {promised:?}");
    if worst > LEASE + PROMISED + SLACK {
        tally.complain("workers", &format!("the last job of a worker that was {what} {done} after {worst:?}"));
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

async fn runs(store: &dyn Store) -> anyhow::Result<BTreeMap<JobKey, Job>> {
    let scan = DueScan { state: State::Running, lane: None, until: Timestamp::MAX, after: None, limit: MOST };
    Ok(store.due(&scan).await?.into_iter().map(|job| (job.key.clone(), job)).collect())
}
