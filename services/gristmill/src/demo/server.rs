//! The demo's server: a child process, as a user would start it.

use std::{env, fs, process::Stdio, time::Duration};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::ready::READY;

const START: Duration = Duration::from_secs(30);
/// Longer than a server drains.
const STOP: Duration = Duration::from_secs(20);

/// A running `gristmill serve` with a data folder that goes when it goes.
pub(super) struct DemoServer {
    child: Child,
    address: String,
    folder: TempDir,
    /// Held open, so that the server's stdout stays whole.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl DemoServer {
    /// Starts it and waits until it accepts requests.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let log = fs::File::create(folder.path().join("log")).context("cannot write to the temporary folder")?;
        let mut command = Command::new(env::current_exe().context("cannot find this program")?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GRISTMILL_")) {
            command.env_remove(name);
        }
        // A group of its own: Ctrl-C is for the demo, which then ends the server in order.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("cannot start a server")?;
        let mut lines = BufReader::new(child.stdout.take().context("the server has no stdout")?).lines();
        match timeout(START, address(&mut lines)).await {
            Ok(Some(address)) => Ok(Self { child, address, folder, _lines: lines }),
            Ok(None) => anyhow::bail!("the server did not start{}", last_words(&folder)),
            Err(_) => anyhow::bail!("the server did not start within {} s{}", START.as_secs(), last_words(&folder)),
        }
    }

    /// `http://` and where it listens.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks it to stop and waits until it has.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            kill_process(id, Signal::TERM).context("cannot stop the server")?;
        }
        let ended = timeout(STOP, self.child.wait()).await;
        let status = ended.with_context(|| format!("the server did not stop within {} s", STOP.as_secs()))??;
        anyhow::ensure!(status.success(), "the server ended with {status}{}", last_words(&self.folder));
        Ok(())
    }
}

/// Reads on until the line that says where the server listens. `None`: it ended without.
async fn address(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix(READY) {
            return Some(address.to_owned());
        }
    }
    None
}

/// The end of the server's log.
fn last_words(folder: &TempDir) -> String {
    let log = fs::read(folder.path().join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let last: Vec<_> = log.lines().rev().take(10).collect();
    last.iter().rev().map(|line| format!("\n  {line}")).collect()
}
