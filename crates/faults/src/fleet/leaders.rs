//! The leading scheduler killed, and how long it takes until the other one leads.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use gristmill_common::WorkerId;
use gristmill_storage::Store;
use gristmill_testkit::{Kind, World};

use super::{LOOK_EVERY, PATIENCE, builder, judge, store_of};
use crate::{load::Load, tally::Tally};

/// How long a leader leads without renewing: what a scheduler has unless it is told otherwise.
const LEADER_LEASE: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);
const LONGEST_MS: u64 = 500;
/// How many jobs are accepted between two kills.
const BETWEEN: usize = 60;

/// Kills the leader so many times.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally, rounds: usize) -> anyhow::Result<()> {
    let builder = builder()?.count(Kind::Api, 1).count(Kind::Worker, 1).count(Kind::Scheduler, 2);
    let mut fleet = builder.start(World::new().await?).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    for _ in 0..rounds {
        load.reaches(load.accepted() + BETWEEN).await?;
        let place = fleet.leader().await?;
        let killed = leader_of(&*store).await?;
        fleet.process(Kind::Scheduler, place).kill().await?;
        tally.injected("leader killed");
        let began = Instant::now();
        while leader_of(&*store).await? == killed {
            ensure!(began.elapsed() < PATIENCE, "nobody else leads");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (took, promised) = (began.elapsed(), LEADER_LEASE * 2);
        println!("  leaders: one killed: another leads after {took:.1?}; promised are {promised:?}");
        if took > promised + SLACK {
            tally.late("leaders", &format!("another leads after {took:?}"));
        }
        fleet.restart(Kind::Scheduler, place).await?;
    }
    judge("leaders", load, &*store, tally).await
}

async fn leader_of(store: &dyn Store) -> anyhow::Result<WorkerId> {
    Ok(store.leader().await?.context("nobody has ever led")?.holder)
}
