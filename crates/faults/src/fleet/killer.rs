//! A job that aborts whichever worker runs it, among mates.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use gristmill_common::{
    State,
    job::{JobKey, What},
};
use gristmill_testkit::{Answer, Fleet, Http, Kind, World};
use reqwest::Method;
use serde_json::{Value, json};

use super::{LOOK_EVERY, PATIENCE, builder, report, store_of};
use crate::{
    load::key_in,
    oracle::{Accepted, Promise},
    rig::everything,
    tally::Tally,
};

const WORKERS: usize = 3;
const MATES: u64 = 30;
/// The shortest lease that a worker may have, and few rescues: it is over sooner.
const LEASE_MS: u64 = 2_000;
const HEARTBEAT_MS: u64 = 500;
const MAX_RESCUES: u32 = 2;
const KILLS: Promise = Promise::of(&[State::Failed], &["worker_lost"]);

/// Submits it, and starts workers again as often as they die.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let builder = builder()?
        .count(Kind::Api, 1)
        .count(Kind::Worker, WORKERS)
        .count(Kind::Scheduler, 1)
        .with("worker.lease_ms", LEASE_MS)
        .with("worker.heartbeat_ms", HEARTBEAT_MS)
        .with("scheduler.max_rescues", MAX_RESCUES)
        .with("handlers.crash_type", true);
    let mut fleet = builder.start(World::new().await?).await?;
    let store = store_of(&fleet).await?;
    let (http, began) = (fleet.http(), Instant::now());
    let mut accepted = Accepted::default();
    for mate in 0..=MATES {
        let (job, promise) = if mate == MATES / 2 {
            (json!({"type": "crash"}), KILLS)
        } else {
            (json!({"type": "sleep", "payload": {"ms": 500 + 100 * (mate % 20)}}), Promise::SUCCEEDS)
        };
        accepted.surely.insert(submit(&http, &job).await?, promise);
    }
    let mut died = 0;
    loop {
        died += revive(&mut fleet, tally).await?;
        let counts = store.counts(None).await?;
        if counts.iter().all(|queue| queue.count == 0 || queue.state.is_terminal()) {
            break;
        }
        ensure!(began.elapsed() < PATIENCE, "jobs are left after {:?}", began.elapsed());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let stored = everything(&*store).await?;
    let (killers, mates): (Vec<_>, Vec<_>) = stored.iter().partition(|whole| whole.job.state == State::Failed);
    let rescued = mates.iter().filter(|whole| whole.job.rescues > 0).count();
    let claims = killers
        .first()
        .map_or(0, |whole| whole.job.history.entries().filter(|entry| entry.what == What::Claimed).count());
    println!(
        "  killer: ended after {claims} runs and {:.1?}; {died} workers died, {rescued} of {MATES} mates were rescued",
        began.elapsed()
    );
    report("killer", &accepted, Vec::new(), &*store, tally).await
}

async fn submit(http: &Http, job: &Value) -> anyhow::Result<JobKey> {
    let answer = Answer::try_of(http.call(Method::POST, "/jobs").json(job)).await?;
    ensure!(answer.status == 202, "refused: {}", answer.text);
    key_in(&answer).context("an answer without an id")
}

/// Starts every worker again that has ended; says how many had.
async fn revive(fleet: &mut Fleet, tally: &Tally) -> anyhow::Result<usize> {
    let mut died = 0;
    for place in 0..WORKERS {
        if fleet.process(Kind::Worker, place).ended()?.is_some() {
            died += 1;
            tally.injected("worker aborted by a job");
            fleet.process(Kind::Worker, place).restart().await?;
        }
    }
    Ok(died)
}
