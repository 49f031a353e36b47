//! One of our programs as a child process: told by its settings, heard by its log, and hurt by signals.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{DEADLINE, http::Http};

/// How many lines of the log are kept: the last ones.
const LINES_KEPT: usize = 500;
/// How many of them are shown when a test fails.
const LINES_SHOWN: usize = 60;
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How the line of `gristmill serve` begins that says where it listens.
const READY: &str = "gristmill is ready on ";

/// How to start a program.
#[derive(Debug, Clone)]
pub struct ProcessBuilder {
    program: PathBuf,
    arguments: Vec<OsString>,
    settings: BTreeMap<String, String>,
}

/// A running program; killed when dropped. What it logged is shown if that is because a test failed.
pub struct Process {
    builder: ProcessBuilder,
    child: Child,
    said: Arc<Said>,
    /// Where it listened, once that was asked for: a restarted program listens there again.
    url: Option<String>,
}

/// What a program has said so far.
#[derive(Default)]
struct Said(Mutex<Log>);

#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    url: Option<String>,
}

impl ProcessBuilder {
    /// This program, with settings that let it log for machines.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let builder = Self { program: program.into(), arguments: Vec::new(), settings: BTreeMap::new() };
        builder.with("log.format", "json")
    }

    /// With one more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With this setting, such as `worker.concurrency`, through the environment.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("GRISTMILL_{}", key.to_uppercase().replace('.', "__"));
        self.settings.insert(name, value.to_string());
        self
    }

    /// With other settings, in the order given.
    #[must_use]
    pub fn with_all<'a>(self, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        settings.into_iter().fold(self, |builder, (key, value)| builder.with(key, value))
    }

    /// Starts it, and does not wait for anything.
    ///
    /// # Errors
    /// It is not there, or cannot be run.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        let (child, said) = self.launch()?;
        Ok(Process { builder: self.clone(), child, said, url: None })
    }

    fn launch(&self) -> anyhow::Result<(Child, Arc<Said>)> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be run: `cargo build --workspace` first", self.program.display()))?;
        let said = Arc::new(Said::default());
        if let Some(stdout) = child.stdout.take() {
            said.clone().listen_to(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            said.clone().listen_to(stderr);
        }
        Ok((child, said))
    }
}

impl Process {
    /// Where it listens, such as `http://127.0.0.1:34567`: waits until it has said so.
    ///
    /// # Errors
    /// It ended, or did not say so in time.
    pub async fn url(&mut self) -> anyhow::Result<String> {
        let asked = Instant::now();
        loop {
            if let Some(url) = self.said.log().url.clone() {
                self.url = Some(url.clone());
                return Ok(url);
            }
            self.still_waits(asked, "said where it listens").await?;
        }
    }

    /// Waits until `/health/ready` says yes, and returns where it listens.
    ///
    /// # Errors
    /// It ended, or was not ready in time.
    pub async fn ready(&mut self) -> anyhow::Result<String> {
        let url = self.url().await?;
        let (http, asked) = (Http::new(&url), Instant::now());
        while http.try_get("/health/ready").await.is_none_or(|answer| answer.status != 200) {
            self.still_waits(asked, "became ready").await?;
        }
        Ok(url)
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it logged, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.said.log().lines.iter().cloned().collect()
    }

    /// How the program ended, if it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// How long it has kept a processor busy so far, its own work and the system's for it.
    ///
    /// # Errors
    /// It has ended, or the system does not say.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold anything; after it come fields without spaces, of which these are proc(5)'s 14 and 15.
        let fields = stat.rsplit_once(") ").context("not the format of proc(5)")?.1;
        let mut ticks = 0;
        for field in fields.split(' ').skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// It could not be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.wait().await?;
        Ok(())
    }

    /// Stops it where it stands, with SIGSTOP, as a machine does that hangs.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to stop with SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// It did not stop in time.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait().await
    }

    /// Starts it again with the settings that it had, at the address that it had. It is killed if it still runs.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_none() {
            self.kill().await?;
        }
        if let Some(address) = self.url.as_deref().and_then(|url| url.strip_prefix("http://")) {
            self.builder = self.builder.clone().with("http.listen", address);
        }
        (self.child, self.said) = self.builder.launch()?;
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// It has not in time.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if asked.elapsed() > DEADLINE {
                bail!("{} did not stop in time", self.builder.program.display());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("not a process")?;
        Ok(kill_process(id, signal)?)
    }

    async fn still_waits(&mut self, since: Instant, what: &str) -> anyhow::Result<()> {
        let program = self.builder.program.display().to_string();
        if let Some(status) = self.ended()? {
            // What it said last may still be on its way.
            tokio::time::sleep(Duration::from_millis(50)).await;
            bail!("{program} ended before it {what}: {status}\n{}", self.last_lines());
        }
        if since.elapsed() > DEADLINE {
            bail!("{program} has not {what} in time\n{}", self.last_lines());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }

    fn last_lines(&self) -> String {
        let lines = self.log();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} {}:\n{}", self.builder.program.display(), self.id(), self.last_lines());
        }
    }
}

impl Said {
    /// On a thread of its own: a program that nobody listens to stops at a full pipe.
    fn listen_to(self: Arc<Self>, output: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                self.hear(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    fn hear(&self, line: String) {
        let mut log = self.log();
        if log.url.is_none() {
            log.url = address_in(&line);
        }
        if log.lines.len() == LINES_KEPT {
            log.lines.pop_front();
        }
        log.lines.push_back(line);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address that a line tells of, if it is the line that does.
fn address_in(line: &str) -> Option<String> {
    if let Some(url) = line.strip_prefix(READY) {
        return Some(url.to_owned());
    }
    if !line.contains("http.address") {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    Some(format!("http://{}", line["http.address"].as_str()?))
}
