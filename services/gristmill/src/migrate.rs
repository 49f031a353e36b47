//! `gristmill migrate`: brings a store's schema up to date, or shows what that would take.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use anyhow::Context;
use gristmill_common::Clock;
use gristmill_runtime::settings::ServerUrl;
use gristmill_storage::StoreError;

const EXAMPLES: &str = "\
Examples:
  gristmill migrate --store sqlite:///var/lib/gristmill --dry-run
  gristmill migrate --store mongodb://gristmill@db.example.org/gristmill

Every server does this by itself when it opens its store. With --dry-run nothing is written, and servers may be at work
on the store. A data folder must not be in use otherwise.

A URL with a password is better given as GRISTMILL_STORE__URL than as an option, which others on the machine can read.";

/// How long a server is waited for that cannot be reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one step of a migration is waited for. On a large database an index takes its time.
const LONGEST_STEP: Duration = Duration::from_secs(2 * 60 * 60);
/// How often to look how far it has come.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Brings a store's schema up to date.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MigrateOptions {
    /// The store: mongodb://HOST/DATABASE or sqlite://FOLDER
    #[arg(long, value_name = "URL", env = "GRISTMILL_STORE__URL", hide_env_values = true, value_parser = url)]
    store: ServerUrl,
    /// Only shows what would be done
    #[arg(long)]
    dry_run: bool,
}

fn url(text: &str) -> Result<ServerUrl, String> {
    ServerUrl::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(crate) async fn run(options: MigrateOptions) -> anyhow::Result<()> {
    let url = options.store.expose();
    let pending = gristmill_storage::pending(url).await?;
    let mut stdout = io::stdout().lock();
    if pending.is_empty() {
        writeln!(stdout, "the store is up to date")?;
        return Ok(());
    }
    if !options.dry_run {
        open(url).await.context("the store was not brought up to date")?;
    }
    let done = if options.dry_run { "to be made" } else { "made" };
    for migration in pending {
        writeln!(stdout, "version {} {done}: {}", migration.version, migration.what)?;
    }
    Ok(())
}

/// Opening migrates. A MongoDB store connects by itself, and answers when it is up to date: until then it is asked how
/// far that has come, by this process or by another.
async fn open(url: &str) -> Result<(), StoreError> {
    let store = gristmill_storage::open(url, &Clock::start()).await?.store;
    let (mut left, mut looked) = (usize::MAX, Instant::now());
    let (mut reached, mut got_on) = (Instant::now(), Instant::now());
    loop {
        let error = match store.ping().await {
            Err(error @ StoreError::Unavailable(_)) => error,
            outcome => return outcome,
        };
        if looked.elapsed() >= LOOK_EVERY {
            if let Ok(pending) = gristmill_storage::pending(url).await {
                reached = Instant::now();
                if pending.len() != left {
                    (left, got_on) = (pending.len(), Instant::now());
                }
            }
            looked = Instant::now();
        }
        if reached.elapsed() >= PATIENCE || got_on.elapsed() >= LONGEST_STEP {
            return Err(error);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
