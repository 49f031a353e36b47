//! `kill -9`, again and again.

use std::time::{Duration, Instant};

use gristmill_testkit::ServerBuilder;

use super::{BETWEEN, LONGEST_MS, configured, judge};
use crate::{fleet::beside, load::Load, tally::Tally};

/// Kills it so many times.
///
/// # Errors
/// It does not come back.
pub(super) async fn hurt(tally: &Tally, kills: usize) -> anyhow::Result<()> {
    let data = tempfile::Builder::new().prefix("faults-").tempdir()?;
    let mut server = configured(ServerBuilder::new(beside("gristmill")?, data.path())).start().await?;
    let (load, mut worst) = (Load::start(&server.http(), LONGEST_MS), Duration::ZERO);
    for kill in 0..kills {
        // Each life ends at no particular moment of its work.
        load.reaches(load.accepted() + BETWEEN + 7 * kill).await?;
        tally.injected("server killed");
        let killed = Instant::now();
        server.restart().await?;
        worst = worst.max(killed.elapsed());
    }
    println!("  kills: {kills} of them, back after {worst:.1?} at most; meanwhile {}", load.refusals());
    judge("kills", load, server, || Ok(data), tally).await
}
