//! RabbitMQ restarted, purged by hand, short of memory, and killed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gristmill_testkit::{Kind, PrivateRabbit, World};

use super::{builder, judge, store_of};
use crate::{load::Load, tally::Tally};

const LONGEST_MS: u64 = 500;
/// How long the load runs between two faults.
const BETWEEN: Duration = Duration::from_secs(2);
/// How long the alarm lasts.
const ALARM: Duration = Duration::from_secs(8);

/// Hurts a RabbitMQ under a load. Submissions go on meanwhile.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let rabbit = PrivateRabbit::start().await?;
    let fleet = builder()?.count(Kind::Api, 1).start(World::with_rabbit(&rabbit)).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    tokio::time::sleep(BETWEEN).await;

    let before = (load.accepted(), Instant::now());
    tally.injected("RabbitMQ's memory alarm");
    rabbit.raise_alarm().await?;
    tokio::time::sleep(ALARM).await;
    let accepted = load.accepted() - before.0;
    rabbit.end_alarm().await?;
    println!("  rabbit: memory alarm for {:.1?}: {accepted} jobs accepted meanwhile", before.1.elapsed());
    ensure!(accepted > 0, "nothing was accepted while RabbitMQ was short of memory");

    tokio::time::sleep(BETWEEN).await;
    // Those that RabbitMQ has named are for events, and each is one process's own.
    for waiting in rabbit.management().waiting().await?.iter().filter(|waiting| !waiting.queue.starts_with("amq.")) {
        rabbit.management().purge(&waiting.queue).await?;
        tally.injected("queue purged");
    }

    tokio::time::sleep(BETWEEN).await;
    let before = (load.accepted(), Instant::now());
    tally.injected("RabbitMQ restarted");
    rabbit.restart().await?;
    println!(
        "  rabbit: restarted in {:.1?}: {} jobs accepted meanwhile",
        before.1.elapsed(),
        load.accepted() - before.0
    );
    ensure!(load.accepted() > before.0, "nothing was accepted while RabbitMQ was restarted");
    tokio::time::sleep(BETWEEN).await;
    judge("rabbit", load, &*store, tally).await
}
