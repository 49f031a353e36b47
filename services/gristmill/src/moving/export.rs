//! `gristmill export`: everything from a data folder into an archive.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use gristmill_archive::SEGMENT_JOBS;

use super::progress::{mebibytes, tell};

const EXAMPLES: &str = "\
Examples:
  gristmill export --data /var/lib/gristmill --to /moving/archive
  gristmill export --data /backup/2026-11-21 --to /moving/archive

The server must be stopped, or the folder be a backup. If it is broken off, the same command goes on with it. The
archive holds the jobs with all their payloads and results: keep it as carefully as the data folder.";

/// Writes everything in a data folder into an archive.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportOptions {
    /// The data folder
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The folder of the archive; it is made if it is missing
    #[arg(long, value_name = "ARCHIVE")]
    to: PathBuf,
    /// The most jobs in a file of the archive: what is written again after a break
    #[arg(long, value_name = "JOBS", default_value_t = SEGMENT_JOBS, value_parser = clap::value_parser!(u64).range(1..))]
    segment_jobs: u64,
}

pub(crate) async fn run(options: ExportOptions) -> anyhow::Result<()> {
    let exported = gristmill_archive::export(&options.data, &options.to, options.segment_jobs, &mut tell()).await?;
    let mut stdout = io::stdout().lock();
    write!(stdout, "{}: {} jobs, {}", options.to.display(), exported.jobs, mebibytes(exported.bytes))?;
    if exported.found > 0 {
        write!(stdout, "; {} of the jobs were there already", exported.found)?;
    }
    Ok(writeln!(stdout)?)
}
