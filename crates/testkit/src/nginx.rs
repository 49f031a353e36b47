//! The real nginx, with the repository's own configuration, as a child process.

use std::{
    fs,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::{DEADLINE, eventually};

/// The repository's configuration.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nginx");
/// A free port may be taken by somebody else before nginx has it; so many times it may happen.
const PORTS_TRIED: u32 = 5;
/// How long nginx may take to stop when it is dropped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How to start a gateway.
#[derive(Debug, Clone, Default)]
pub struct GatewayBuilder {
    replicas: Vec<String>,
    enabled: Vec<&'static str>,
    edits: Vec<(&'static str, &'static str, &'static str)>,
    has_tls: bool,
}

/// A running nginx; stopped when dropped.
pub struct Gateway {
    nginx: Child,
    folder: TempDir,
    port: u16,
    tls_port: u16,
}

impl GatewayBuilder {
    /// A gateway before these replicas, such as `http://127.0.0.1:34567`.
    pub fn new<U: AsRef<str>>(replicas: impl IntoIterator<Item = U>) -> Self {
        Self { replicas: replicas.into_iter().map(|url| url.as_ref().to_owned()).collect(), ..Self::default() }
    }

    /// With the limits for each address.
    #[must_use]
    pub fn with_limits(mut self) -> Self {
        self.enabled.push("limits.conf");
        self
    }

    /// With TLS beside the plain listener, and a development certificate.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.enabled.push("tls.conf");
        self.has_tls = true;
        self
    }

    /// With a text within a file of the configuration replaced, as a deployment might.
    #[must_use]
    pub fn with_edit(mut self, file: &'static str, from: &'static str, to: &'static str) -> Self {
        self.edits.push((file, from, to));
        self
    }

    /// Starts nginx on free ports, and waits until it accepts requests.
    ///
    /// # Errors
    /// It refused its configuration, stopped, or was not ready in time.
    ///
    /// # Panics
    /// nginx is not installed.
    pub async fn start(&self) -> anyhow::Result<Gateway> {
        for _ in 0..PORTS_TRIED {
            let [port, tls_port] = free_ports()?;
            let folder = self.lay_out(port, tls_port)?;
            let mut nginx = command(folder.path());
            let nginx = nginx.args(["-g", "daemon off;"]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
            let mut gateway =
                Gateway { nginx: nginx.spawn().context("nginx could not be started")?, folder, port, tls_port };
            if gateway.is_up().await? {
                return Ok(gateway);
            }
        }
        bail!("nginx found {PORTS_TRIED} free ports taken")
    }

    /// A folder with a copy of the configuration, and with what a deployment brings.
    fn lay_out(&self, port: u16, tls_port: u16) -> anyhow::Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("gateway-").tempdir()?;
        let configuration = configuration(folder.path());
        for part in [configuration.clone(), configuration.join("enabled"), folder.path().join("logs")] {
            fs::create_dir(part)?;
        }
        for entry in fs::read_dir(CONFIGURATION).context("the configuration")? {
            let path = entry?.path();
            if let (Some("conf"), Some(name)) = (path.extension().and_then(|end| end.to_str()), path.file_name()) {
                fs::copy(&path, configuration.join(name))?;
            }
        }
        fs::write(configuration.join("listen.conf"), format!("listen 127.0.0.1:{port} default_server;\n"))?;
        let listen_tls = format!("listen 127.0.0.1:{tls_port} ssl http2 default_server;\n");
        fs::write(configuration.join("listen-tls.conf"), listen_tls)?;
        write_replicas(&configuration, &self.replicas)?;
        for (file, from, to) in &self.edits {
            let path = configuration.join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("{file} cannot be read"))?;
            ensure!(text.contains(from), "{file} does not say `{from}`");
            fs::write(path, text.replace(from, to))?;
        }
        for file in &self.enabled {
            fs::copy(configuration.join(file), configuration.join("enabled").join(file))?;
        }
        if self.has_tls {
            make_certificate(&configuration.join("tls"))?;
        }
        Ok(folder)
    }
}

impl Gateway {
    /// Where it listens, such as `http://127.0.0.1:34567`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it listens with TLS, if it does: `https://` and the name of the certificate.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.tls_port)
    }

    /// The address of a call, such as `/jobs`.
    #[must_use]
    pub fn api(&self, call: &str) -> String {
        format!("{}/api/v1{call}", self.url())
    }

    /// The certificate to trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        configuration(self.folder.path()).join("tls/certificate.pem")
    }

    /// The access log: a JSON object on each line, up to a second late.
    #[must_use]
    pub fn access_log(&self) -> PathBuf {
        self.folder.path().join("logs/access.log")
    }

    /// The error log, with starts, stops and reloads.
    #[must_use]
    pub fn error_log(&self) -> PathBuf {
        error_log(self.folder.path())
    }

    /// The whole configuration as nginx reads it, and what it has to say of it: `nginx -T`.
    ///
    /// # Errors
    /// nginx refuses it.
    pub fn configuration(&self) -> anyhow::Result<(String, String)> {
        let asked = command(self.folder.path()).arg("-T").output()?;
        let said = String::from_utf8(asked.stderr)?;
        ensure!(asked.status.success(), "nginx refuses its configuration: {said}");
        Ok((String::from_utf8(asked.stdout)?, said))
    }

    /// Goes over to other replicas, and waits until new requests go to them; those in flight end where they are.
    ///
    /// # Errors
    /// nginx refused the configuration.
    pub async fn reload<U: AsRef<str>>(&mut self, replicas: impl IntoIterator<Item = U>) -> anyhow::Result<()> {
        let replicas: Vec<U> = replicas.into_iter().collect();
        write_replicas(&configuration(self.folder.path()), &replicas)?;
        self.configuration()?;
        let before = workers(self.nginx.id());
        kill_process(pid(&self.nginx)?, Signal::HUP)?;
        eventually("nginx has reloaded", || async {
            let now = workers(self.nginx.id());
            (!now.is_empty() && now.iter().all(|worker| !before.contains(worker))).then_some(())
        })
        .await;
        Ok(())
    }

    /// Waits until it listens. False if its port was taken.
    async fn is_up(&mut self) -> anyhow::Result<bool> {
        // nginx writes its id down once it has its ports: somebody else who answers there is not taken for it.
        let (pid_file, id) = (self.folder.path().join("nginx.pid"), self.nginx.id().to_string());
        let asked = Instant::now();
        loop {
            if let Some(status) = self.nginx.try_wait()? {
                let log = fs::read_to_string(self.error_log()).unwrap_or_default();
                if log.contains("Address already in use") {
                    return Ok(false);
                }
                bail!("nginx stopped before it was ready: {status}\n{log}");
            }
            if fs::read_to_string(&pid_file).is_ok_and(|text| text.trim() == id) {
                return Ok(true);
            }
            ensure!(asked.elapsed() < DEADLINE, "nginx was not ready in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Killed alone, the first process would leave the others behind, listening.
        let Ok(group) = pid(&self.nginx) else { return };
        let _ = kill_process(group, Signal::TERM);
        let told = Instant::now();
        while matches!(self.nginx.try_wait(), Ok(None)) && told.elapsed() < STOP_PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        if matches!(self.nginx.try_wait(), Ok(None)) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.nginx.wait();
        }
    }
}

/// nginx on the configuration in this folder.
fn command(folder: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("-p").arg(folder).arg("-c").arg(configuration(folder).join("nginx.conf"));
    // Before it has read where its log is, and for what it says of a configuration.
    command.arg("-e").arg("stderr");
    command
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An ordinary user has no `sbin` in the path.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    match folders.map(|folder: PathBuf| folder.join("nginx")).find(|program| program.is_file()) {
        Some(program) => program,
        None => panic!("nginx is not installed: `deploy/services install` does that"),
    }
}

fn configuration(folder: &Path) -> PathBuf {
    folder.join("configuration")
}

fn error_log(folder: &Path) -> PathBuf {
    folder.join("logs/error.log")
}

fn write_replicas<U: AsRef<str>>(configuration: &Path, replicas: &[U]) -> anyhow::Result<()> {
    let line = |url: &U| {
        let address = url.as_ref().strip_prefix("http://").context("a replica is http://ADDRESS")?;
        Ok(format!("server {} max_fails=3 fail_timeout=5s;\n", address.trim_end_matches('/')))
    };
    let lines: String = replicas.iter().map(line).collect::<anyhow::Result<_>>()?;
    Ok(fs::write(configuration.join("upstream.conf"), lines)?)
}

fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let script = Path::new(CONFIGURATION).join("dev-certificate");
    let made = Command::new(script).env("TLS_FOLDER", folder).output().context("the script could not be run")?;
    ensure!(made.status.success(), "no certificate: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}

/// Two ports that nobody has at this moment.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let second = TcpListener::bind("127.0.0.1:0")?;
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}

fn pid(child: &Child) -> anyhow::Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("not a process")
}

/// The processes that take new requests: those that are about to end say so in their titles.
fn workers(master: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    let takes_requests = |id: &&str| {
        let title = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        title.trim_end_matches('\0').trim_end() == "nginx: worker process"
    };
    children.split_whitespace().filter(takes_requests).map(ToOwned::to_owned).collect()
}
