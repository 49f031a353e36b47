//! A program that listens: started as a child, and killed when it is dropped.

use std::{fs, net::SocketAddr, process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// What comes before the address in the line that says where a program listens.
const SCHEME: &str = "http://";
/// How long a program may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program.
pub(crate) struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    /// Starts it, and waits until the line comes on its stdout that says where it listens.
    ///
    /// # Errors
    /// It stopped, or was not ready in time.
    pub(crate) async fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("a program could not be started")?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.context("a program was not ready in time")?;
        let line = line?.context("a program stopped before it was ready")?;
        let address = line.split_once(SCHEME).with_context(|| format!("a program says `{line}`"))?.1.parse()?;
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has stopped.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("a program has stopped by itself")
    }

    /// The processor time of all its threads so far, in milliseconds. `schedstat` counts nanoseconds, where `stat`
    /// has ticks of ten milliseconds. Source: the kernel's `Documentation/scheduler/sched-stats.rst`.
    ///
    /// # Errors
    /// It has stopped.
    pub(crate) fn spent_ms(&self) -> anyhow::Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid()?))? {
            // A thread that has ended meanwhile is left out.
            let Ok(schedule) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            nanoseconds += schedule.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(nanoseconds / 1e6)
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Errors
    /// It had stopped by itself.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.pid()?;
        Ok(self.child.kill().await?)
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Errors
    /// It did not stop in time, or not well.
    pub(crate) async fn terminate(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("that is no process id")?;
        kill_process(pid, Signal::TERM)?;
        let stopped = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("a program did not stop")??;
        ensure!(stopped.success(), "a program ended with {stopped}");
        Ok(())
    }
}
