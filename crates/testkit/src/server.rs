//! The embedded mode: `gristmill serve` as a child process.

use std::{
    path::{Path, PathBuf},
    process::ExitStatus,
};

use crate::{Disk, Http, Process, ProcessBuilder};

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerBuilder {
    builder: ProcessBuilder,
}

/// A running server; killed when dropped.
pub struct Server {
    process: Process,
    url: String,
}

impl ServerBuilder {
    /// A server of this program (`env!("CARGO_BIN_EXE_gristmill")`) on this data folder.
    pub fn new(program: impl Into<PathBuf>, data: &Path) -> Self {
        Self::of(ProcessBuilder::new(program), data)
    }

    /// A server of this program whose data are on this disk.
    pub fn on(disk: &Disk, program: &Path) -> Self {
        Self::of(disk.enter(program), &disk.path().join("data"))
    }

    fn of(builder: ProcessBuilder, data: &Path) -> Self {
        // A setting, and no argument: started again, it is given the port that it had.
        let builder = builder.argument("serve").argument("--data").argument(data).with("http.listen", "127.0.0.1:0");
        Self { builder }
    }

    /// With this setting, such as `worker.concurrency`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.builder = self.builder.with(key, value);
        self
    }

    /// Starts it on a free port, and waits until it accepts requests.
    ///
    /// # Errors
    /// It stopped, or was not ready in time.
    pub async fn start(&self) -> anyhow::Result<Server> {
        let mut process = self.builder.spawn()?;
        let url = process.url().await?;
        Ok(Server { process, url })
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

    /// Its process, to be hurt.
    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Starts it again where it listened, and waits until it accepts requests. It is killed if it still runs.
    ///
    /// # Errors
    /// It could not be started, or was not ready in time.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process.restart().await?;
        self.process.url().await.map(drop)
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
