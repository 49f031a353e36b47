//! `gristmill backup`: a copy of a data folder, while a server runs on it.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::progress::mebibytes;

const EXAMPLES: &str = "\
Examples:
  gristmill backup --data /var/lib/gristmill --to /backup/2026-11-21

Every job that was accepted before the backup began is in it. The copy is checked, and is there whole or not at all;
it is a data folder: `gristmill serve --data` and `gristmill export --data` open it. A copy of the files of a running
server, made in another way, is not a backup.";

/// Copies the data folder of a running (or stopped) server.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BackupOptions {
    /// The data folder
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The folder to make; it must not be there yet
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
}

pub(crate) async fn run(options: BackupOptions) -> anyhow::Result<()> {
    let copy = gristmill_archive::backup(&options.data, &options.to).await?;
    let (to, jobs) = (options.to.display(), copy.jobs);
    Ok(writeln!(io::stdout(), "{to}: {jobs} jobs, {}, checked", mebibytes(copy.bytes))?)
}
