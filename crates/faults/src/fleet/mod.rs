//! The fleet: real processes on real servers, hurt by signals, by RabbitMQ's own tools, and by proxies.

pub(crate) mod arrows;
pub(crate) mod away;
pub(crate) mod killer;
pub(crate) mod leaders;
pub(crate) mod rabbit;
pub(crate) mod store;
pub(crate) mod workers;

use std::{
    env,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use gristmill_common::Clock;
use gristmill_storage::Store;
use gristmill_testkit::{Fleet, FleetBuilder};

use crate::{
    load::Load,
    oracle::{self, Accepted},
    rig::everything,
    tally::Tally,
};

/// How long everything may take once nothing goes wrong any more: longer than a ring is put off.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A fleet of the programs beside this one.
fn builder() -> anyhow::Result<FleetBuilder> {
    Ok(FleetBuilder::new(beside("gristmill")?).with("log.filter", "info,lapin=off"))
}

pub(crate) fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    Ok(own.parent().context("this program lies nowhere")?.join(program))
}

/// The fleet's store, looked at past everybody.
async fn store_of(fleet: &Fleet) -> anyhow::Result<Arc<dyn Store>> {
    let store = gristmill_storage::open(fleet.world().store_url(), &Clock::start()).await?.store;
    let asked = Instant::now();
    while let Err(error) = store.ping().await {
        if asked.elapsed() > PATIENCE {
            bail!("the store is not there: {error}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(store)
}

/// Ends the load, waits until every job has ended, and lets the oracle speak.
async fn judge(place: &str, load: Load, store: &dyn Store, tally: &Tally) -> anyhow::Result<()> {
    let (accepted, complaints) = load.end().await;
    let took = all_ended(store).await;
    println!("  {place}: the last job ended {took:.1?} after the load");
    report(place, &accepted, complaints, store, tally).await
}

/// Waits until no job is left that has not ended, or nobody believes in that any more; says how long it took.
async fn all_ended(store: &dyn Store) -> Duration {
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        let counts = store.counts(None).await;
        if counts.is_ok_and(|counts| counts.iter().all(|queue| queue.count == 0 || queue.state.is_terminal())) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    asked.elapsed()
}

/// Lets the oracle speak of what is in the store.
pub(crate) async fn report(
    place: &str,
    accepted: &Accepted,
    complaints: Vec<String>,
    store: &dyn Store,
    tally: &Tally,
) -> anyhow::Result<()> {
    let stored = everything(store).await?;
    let mut verdict = oracle::judge(accepted, &stored, None);
    verdict.complaints.extend(complaints);
    let rescues: u32 = stored.iter().map(|whole| whole.job.rescues).sum();
    println!("  {place}: {} jobs accepted, {rescues} rescues", verdict.accepted);
    tally.judged(place, &verdict);
    Ok(())
}
