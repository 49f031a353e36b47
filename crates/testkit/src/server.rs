//! The real program as a child process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::DEADLINE;

/// How the line begins that says where the server listens.
const READY: &str = "gristmill is ready on ";

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    program: PathBuf,
    data: PathBuf,
    settings: BTreeMap<String, String>,
    disk_megabytes: Option<u32>,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    url: String,
}

impl ServerBuilder {
    /// A server of this program (`env!("CARGO_BIN_EXE_gristmill")`) on this data folder.
    pub fn new(program: impl Into<PathBuf>, data: &Path) -> Self {
        Self { program: program.into(), data: data.to_owned(), settings: BTreeMap::new(), disk_megabytes: None }
    }

    /// With this setting, such as `worker.concurrency`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("GRISTMILL_{}", key.to_uppercase().replace('.', "__"));
        self.settings.insert(name, value.to_string());
        self
    }

    /// With its data on a disk of its own that is this small, in megabytes: a tmpfs that only the server sees.
    #[must_use]
    pub fn on_a_small_disk(mut self, megabytes: u32) -> Self {
        self.disk_megabytes = Some(megabytes);
        self
    }

    /// The program, or what makes the disk and then becomes the program.
    fn command(&self) -> Command {
        let Some(megabytes) = self.disk_megabytes else { return Command::new(&self.program) };
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
        unshare.args(["--mount", "sh", "-c", &mount]).arg(&self.data).arg(&self.program);
        unshare
    }

    /// Starts it on a free port, and waits until it accepts requests.
    ///
    /// # Errors
    /// It stopped, or was not ready in time.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let mut child = self
            .command()
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&self.data)
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the server could not be started")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = line.strip_prefix(READY) {
                    return Ok(url.to_owned());
                }
            }
            bail!("the server stopped before it was ready")
        };
        let url = tokio::time::timeout(DEADLINE, ready).await.context("the server was not ready in time")??;
        Ok(Server { child, url })
    }
}

impl Server {
    /// Where it listens, such as `http://127.0.0.1:34567`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of a call, such as `/jobs`.
    #[must_use]
    pub fn api(&self, call: &str) -> String {
        format!("{}/api/v1{call}", self.url)
    }

    /// A path as the server sees it, which may have a disk of its own.
    #[must_use]
    pub fn sees(&self, path: &Path) -> Option<PathBuf> {
        Some(format!("/proc/{}/root{}", self.child.id()?, path.display()).into())
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop with SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// It did not stop in time.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let pid = self.child.id().context("the server has stopped already")?;
        let signalled = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        anyhow::ensure!(signalled.success(), "the server could not be signalled");
        let stopped = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        stopped.context("the server did not stop in time")?.context("the server could not be waited for")
    }
}
