//! The connections to the store cut, delayed, and half-open.

use std::time::{Duration, Instant};

use gristmill_testkit::{Kind, Manner, Proxy, World};

use super::{builder, judge, store_of};
use crate::{load::Load, tally::Tally};

const LONGEST_MS: u64 = 500;
/// How many jobs are accepted between two faults.
const BETWEEN: usize = 60;
/// What is done to the connections, for how long, and what it is called.
const FAULTS: [(&str, Manner, Duration); 3] = [
    ("store cut off", Manner::Refuse, Duration::from_secs(4)),
    // A second on the way there, and one on the way back.
    ("store delayed by 2 s", Manner::Delay(Duration::from_secs(1)), Duration::from_secs(12)),
    ("store half-open", Manner::Hang, Duration::from_secs(6)),
];

/// Hurts every connection between a fleet and its store, under a load.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let world = World::new().await?;
    let proxy = Proxy::start(world.store_address()).await?;
    let url = world.store_url_through(&proxy.address().to_string());
    let fleet = builder()?.count(Kind::Api, 1).with("store.url", url).start(world).await?;
    let store = store_of(&fleet).await?;
    let load = Load::start(&fleet.http(), LONGEST_MS);
    for (what, manner, time) in FAULTS {
        load.reaches(load.accepted() + BETWEEN).await?;
        let before = load.accepted();
        tally.injected(what);
        proxy.treat(manner);
        tokio::time::sleep(time).await;
        proxy.treat(Manner::Forward);
        let (meanwhile, over) = (load.accepted() - before, Instant::now());
        load.reaches(load.accepted() + 1).await?;
        println!(
            "  store: {what} for {time:?}: {meanwhile} jobs accepted meanwhile, the next {:.1?} later",
            over.elapsed()
        );
    }
    load.reaches(load.accepted() + BETWEEN).await?;
    judge("store", load, &*store, tally).await
}
