//! The embedded program: killed again and again, and its disk full and read-only.

mod disk;
mod kills;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use gristmill_common::Clock;
use gristmill_testkit::{Server, ServerBuilder};
use serde_json::Value;

use crate::{
    fleet::{LOOK_EVERY, PATIENCE, report},
    load::Load,
    tally::Tally,
};

const LONGEST_MS: u64 = 500;
/// How many jobs are accepted between two faults.
const BETWEEN: usize = 60;

/// Hurts the embedded program under a load.
///
/// # Errors
/// It does not do what it should.
pub(crate) async fn hurt(tally: &Tally, kills: usize) -> anyhow::Result<()> {
    kills::hurt(tally, kills).await?;
    disk::hurt(tally).await
}

fn configured(builder: ServerBuilder) -> ServerBuilder {
    builder.with("handlers.test_types", true).with("log.filter", "info")
}

/// Ends the load, waits until every job has ended, and stops the server; `data` is then where its data are.
async fn judge(
    place: &str,
    load: Load,
    server: Server,
    data: impl FnOnce() -> anyhow::Result<tempfile::TempDir>,
    tally: &Tally,
) -> anyhow::Result<()> {
    let (accepted, complaints) = load.end().await;
    let took = all_ended(&server).await;
    println!("  {place}: the last job ended {took:.1?} after the load");
    server.terminate().await?;
    let data = data()?;
    let store = open(data.path()).await?;
    report(place, &accepted, complaints, &*store, tally).await
}

async fn open(data: &Path) -> anyhow::Result<std::sync::Arc<dyn gristmill_storage::Store>> {
    Ok(gristmill_storage::open(&format!("sqlite://{}", data.display()), &Clock::start()).await?.store)
}

async fn all_ended(server: &Server) -> Duration {
    let (http, asked) = (server.http(), Instant::now());
    while asked.elapsed() < PATIENCE {
        let stats = http.try_get("/api/v1/stats").await.map_or(Value::Null, |answer| answer.json);
        if ["scheduled", "queued", "running"].iter().all(|state| stats["counts"][state] == 0) {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    asked.elapsed()
}
