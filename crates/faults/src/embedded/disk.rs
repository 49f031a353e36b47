//! The disk full, and read-only: while the server runs where the system can do that, and while it starts.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use gristmill_testkit::{Disk, ServerBuilder};
use tempfile::TempDir;

use super::{BETWEEN, LONGEST_MS, configured, judge};
use crate::{fleet::beside, load::Load, tally::Tally};

const MEGABYTES: u32 = 64;
/// How long it is full.
const FULL: Duration = Duration::from_secs(5);
const BALLAST: &str = "ballast";
const PIECE: [u8; 4096] = [1; 4096];

/// Fills the disk and gives it room again, makes it read-only and writable again.
///
/// # Errors
/// The server does not do what it should.
pub(super) async fn hurt(tally: &Tally) -> anyhow::Result<()> {
    let disk = Disk::in_a_file(MEGABYTES).or_else(|_| Disk::in_memory(MEGABYTES))?;
    let mut server = configured(ServerBuilder::on(&disk, &beside("gristmill")?)).start().await?;
    let load = Load::start(&server.http(), LONGEST_MS);
    load.reaches(BETWEEN).await?;

    let (before, _) = (load.accepted(), load.refusals());
    tally.injected("disk full");
    fill(&disk.seen().join(BALLAST))?;
    tokio::time::sleep(FULL).await;
    fs::remove_file(disk.seen().join(BALLAST))?;
    let (meanwhile, over) = (load.accepted() - before, Instant::now());
    load.reaches(load.accepted() + 1).await?;
    let (again, refusals) = (over.elapsed(), load.refusals());
    println!("  disk: full for {FULL:?}: {meanwhile} jobs accepted meanwhile, the next {again:.1?} later; {refusals}");
    load.reaches(load.accepted() + BETWEEN).await?;

    let before = load.accepted();
    tally.injected("disk read-only");
    if disk.can_fail_under_way() {
        disk.turn_read_only()?;
        let began = Instant::now();
        let status = server.ended().await.context("it goes on with a disk that is read-only")?;
        let said = last_line(server.process().log());
        println!("  disk: read-only under way: it ends after {:.1?} with {status}: {said}", began.elapsed());
    } else {
        println!("  disk: cannot be made read-only under way here; it is, after a kill");
        server.process_mut().kill().await?;
        disk.turn_read_only()?;
    }
    match server.restart().await {
        Ok(()) => bail!("it starts on a disk that is read-only"),
        Err(error) => println!("  disk: read-only at the start: {}", last_line([format!("{error:#}")])),
    }
    println!("  disk: {} jobs accepted meanwhile; {}", load.accepted() - before, load.refusals());
    disk.turn_writable()?;
    server.restart().await.context("on a disk that is writable again")?;
    load.reaches(load.accepted() + BETWEEN).await?;
    judge("disk", load, server, || copied(&disk), tally).await
}

/// Leaves no room at all.
fn fill(ballast: &Path) -> anyhow::Result<()> {
    let mut file = fs::File::create(ballast)?;
    loop {
        match file.write_all(&PIECE) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A copy of the data: SQLite finds no file whose path leads through another process.
fn copied(disk: &Disk) -> anyhow::Result<TempDir> {
    let copy = tempfile::Builder::new().prefix("faults-").tempdir()?;
    let mut files = 0;
    for entry in fs::read_dir(disk.seen().join("data"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), copy.path().join(entry.file_name()))?;
            files += 1;
        }
    }
    ensure!(files > 0, "there are no data");
    Ok(copy)
}

/// What was said last.
fn last_line(said: impl IntoIterator<Item = String>) -> String {
    let lines: Vec<String> =
        said.into_iter().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().rfind(|line| !line.trim().is_empty()).unwrap_or_default()
}
