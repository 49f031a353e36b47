//! (g) What a fresh server needs when nobody asks anything of it, and how soon it is ready.

use std::{fs, time::Instant};

use anyhow::Context;

use crate::{
    figures::{Figures, Row, Section},
    load::seconds_since,
    stage::Stage,
};

/// From starting the process to the line that says where it listens.
pub(crate) const READY: Row = row("time to ready, on an empty folder", "ms");
/// Memory in use by a fresh server.
pub(crate) const MEMORY: Row = row("memory, resident", "MiB");

const PROCESSOR: Row = row("processor time spent in a second of rest", "ms");

const fn row(what: &'static str, unit: &'static str) -> Row {
    Row { section: Section::Footprint, what, unit }
}

/// One round.
///
/// # Errors
/// A server could not be started, or there is no `/proc`.
pub(crate) async fn measure(stage: &Stage, figures: &mut Figures) -> anyhow::Result<()> {
    for start in 1..=stage.plan.starts {
        let data = stage.fresh_folder()?;
        let began = Instant::now();
        let server = stage.server(&data, &[]).await?;
        figures.record(READY, 1_000.0 * seconds_since(began));
        if start == stage.plan.starts {
            tokio::time::sleep(stage.plan.rest).await;
            figures.record(MEMORY, resident_mebibytes(server.pid()?)?);
            let before = server.spent_ms()?;
            tokio::time::sleep(stage.plan.watch).await;
            figures.record(PROCESSOR, (server.spent_ms()? - before) / stage.plan.watch.as_secs_f64());
        }
        server.kill().await?;
    }
    Ok(())
}

fn resident_mebibytes(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1024.0)
}
