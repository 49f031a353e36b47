//! `gristmill import`: everything from an archive into a store.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::bail;
use gristmill_archive::{Comparison, Standing, Verdict};
use gristmill_runtime::settings::ServerUrl;

use super::progress::tell;

const EXAMPLES: &str = "\
Examples:
  gristmill import --from /moving/archive --store mongodb://gristmill@db.example.org/gristmill
  gristmill import --from /moving/archive --store sqlite:///var/lib/gristmill

Stop the old server, export, import, start the fleet: in this order. If it is broken off, the same command goes on
with it. Jobs that are in the store stay as they are. In the end every job is read back and compared, to the last
byte; the exit code is 3 if one is missing or different.

A URL with a password is better given as GRISTMILL_STORE__URL than as an option, which others on the machine can read.";

/// Stores everything in an archive, and checks that it is there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportOptions {
    /// The archive
    #[arg(long, value_name = "ARCHIVE")]
    from: PathBuf,
    /// The store: mongodb://HOST/DATABASE or sqlite://FOLDER
    #[arg(long, value_name = "URL", env = "GRISTMILL_STORE__URL", hide_env_values = true, value_parser = url)]
    store: ServerUrl,
}

fn url(text: &str) -> Result<ServerUrl, String> {
    ServerUrl::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(crate) async fn run(options: ImportOptions) -> anyhow::Result<()> {
    let imported = gristmill_archive::import(&options.from, options.store.expose(), &mut tell()).await?;
    for queue in &imported.paused {
        writeln!(io::stderr(), "queue {queue} is paused now, as it is in the archive")?;
    }
    for queue in &imported.limited {
        writeln!(io::stderr(), "queue {queue} has a rate limit now, as it has in the archive")?;
    }
    let comparison = &imported.comparison;
    let mut stdout = io::stdout().lock();
    write!(stdout, "{}", table(comparison))?;
    writeln!(stdout, "{} jobs were stored by this run", imported.created)?;
    if imported.registers > 0 {
        writeln!(stdout, "{} keys and schedules were stored by this run", imported.registers)?;
    }
    if comparison.is_whole() {
        return Ok(());
    }
    for (key, verdict) in &comparison.wrong {
        let verdict = if *verdict == Verdict::Missing { "missing" } else { "different" };
        writeln!(io::stderr(), "{verdict}: {} of tenant {}", key.id, key.tenant)?;
    }
    let Standing { missing, different, .. } = comparison.total();
    bail!("the store is not what the archive is: {missing} jobs are missing and {different} are different")
}

/// A row for each state, and one for all.
fn table(comparison: &Comparison) -> String {
    let mut table = format!(
        "{:<10} {:>12} {:>12} {:>12} {:>12} {:>12}\n",
        "state", "in archive", "the same", "moved on", "missing", "different"
    );
    let rows = comparison.standings().map(|(state, standing)| (state.to_string(), standing));
    for (name, row) in rows.chain([("all".to_owned(), comparison.total())]) {
        let Standing { archived, same, moved_on, missing, different } = row;
        table += &format!("{name:<10} {archived:>12} {same:>12} {moved_on:>12} {missing:>12} {different:>12}\n");
    }
    table
}
