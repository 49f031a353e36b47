//! The embedded mode: `gristmill serve` as a child process.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use crate::{Http, Process, ProcessBuilder};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    program: PathBuf,
    data: PathBuf,
    settings: Vec<(String, String)>,
    disk_megabytes: Option<u32>,
}

/// A running server; killed when dropped.
pub struct Server {
    process: Process,
    url: String,
}

impl ServerBuilder {
    /// A server of this program (`env!("CARGO_BIN_EXE_gristmill")`) on this data folder.
    pub fn new(program: impl Into<PathBuf>, data: &Path) -> Self {
        Self { program: program.into(), data: data.to_owned(), settings: Vec::new(), disk_megabytes: None }
    }

    /// With this setting, such as `worker.concurrency`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// With its data on a disk of its own that is this small, in megabytes: a tmpfs that only the server sees.
    #[must_use]
    pub fn on_a_small_disk(mut self, megabytes: u32) -> Self {
        self.disk_megabytes = Some(megabytes);
        self
    }

    /// Starts it on a free port, and waits until it accepts requests.
    ///
    /// # Errors
    /// It stopped, or was not ready in time.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let settings = self.settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut process = self.command().with_all(settings).spawn()?;
        let url = process.url().await?;
        Ok(Server { process, url })
    }

    /// The program, or what makes the disk and then becomes the program.
    fn command(&self) -> ProcessBuilder {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data"].map(OsString::from);
        let arguments = serve.into_iter().chain([self.data.clone().into()]);
        let builder = match self.disk_megabytes {
            None => ProcessBuilder::new(&self.program),
            Some(megabytes) => {
                let own_user: &[&str] =
                    if rustix::process::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
                let mount = format!("mount -t tmpfs -o size={megabytes}m tmpfs \"$0\" && exec \"$@\"");
                own_user
                    .iter()
                    .chain(&["--mount", "sh", "-c", &mount])
                    .fold(ProcessBuilder::new("unshare"), |builder, argument| builder.argument(argument))
                    .argument(&self.data)
                    .argument(&self.program)
            }
        };
        arguments.fold(builder, ProcessBuilder::argument)
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

    /// A client of it.
    #[must_use]
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A path as the server sees it, which may have a disk of its own.
    #[must_use]
    pub fn sees(&self, path: &Path) -> PathBuf {
        format!("/proc/{}/root{}", self.process.id(), path.display()).into()
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Asks it to stop with SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// It did not stop in time.
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        self.process.terminate().await
    }
}
