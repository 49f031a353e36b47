//! The servers that a fleet stands on: RabbitMQ and a MongoDB server. Each test has a world of its own on them, and
//! one that hurts RabbitMQ has a node of its own.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{DEADLINE, database::Database};

/// The script that starts servers.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/services");
/// The parts of the script, for what it does not offer itself.
const PARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/dev");
/// How long tidying up may take, in which nobody is interested.
const TIDY_PATIENCE: Duration = Duration::from_secs(10);

/// A database and a virtual host that nobody else uses; both are removed when it is dropped.
pub struct World {
    database: Database,
    broker_url: String,
    management: Management,
    has_own_vhost: bool,
}

/// RabbitMQ's management interface, for one virtual host.
#[derive(Debug, Clone)]
pub struct Management {
    http: reqwest::Client,
    url: Url,
    vhost: String,
}

/// What waits in a queue of RabbitMQ, as its management tells: some seconds late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The queue's name in RabbitMQ.
    pub queue: String,
    /// Messages that nobody has.
    pub ready: u64,
    /// Messages that a consumer has, and has not acknowledged.
    pub unacknowledged: u64,
}

/// A RabbitMQ node of one test's own; stopped when dropped.
pub struct PrivateRabbit {
    folder: TempDir,
    url: String,
    management: Management,
}

impl World {
    /// A new world on the servers that the environment names.
    ///
    /// # Errors
    /// RabbitMQ's management refuses.
    ///
    /// # Panics
    /// The environment names none.
    pub async fn new() -> anyhow::Result<Self> {
        let name = unique_name();
        let management = Management::new(&required("RABBITMQ_MANAGEMENT_URL"), &name)?;
        let broker_url = with_path(&required("AMQP_URL"), &name);
        management.create_vhost(&user_of(&broker_url)).await?;
        let database = Database::named(&required("MONGODB_URL"), &name);
        Ok(Self { database, broker_url, management, has_own_vhost: true })
    }

    /// A new world whose RabbitMQ is this one.
    ///
    /// # Panics
    /// The environment names no MongoDB server.
    #[must_use]
    pub fn with_rabbit(rabbit: &PrivateRabbit) -> Self {
        let database = Database::on(&required("MONGODB_URL"));
        let (broker_url, management) = (rabbit.url.clone(), rabbit.management.clone());
        Self { database, broker_url, management, has_own_vhost: false }
    }

    /// Where its MongoDB server listens, such as `127.0.0.1:27017`: the first of them, if they are many.
    #[must_use]
    pub fn store_address(&self) -> &str {
        let (_, authority, _) = parts(self.store_url());
        let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
        hosts.split(',').next().unwrap_or_default()
    }

    /// Where its RabbitMQ listens, such as `127.0.0.1:5672`.
    #[must_use]
    pub fn broker_address(&self) -> &str {
        let (_, authority, _) = parts(&self.broker_url);
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    /// For `broker.url`, when something at this address stands before RabbitMQ.
    #[must_use]
    pub fn broker_url_through(&self, address: &str) -> String {
        let (scheme, authority, path) = parts(&self.broker_url);
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        format!("{scheme}://{user}{address}{path}")
    }

    /// For `store.url`, when something at this address stands before the MongoDB server.
    #[must_use]
    pub fn store_url_through(&self, address: &str) -> String {
        let (scheme, authority, path) = parts(self.store_url());
        let user = authority.rsplit_once('@').map(|(user, _)| format!("{user}@")).unwrap_or_default();
        let sign = if path.contains('?') { '&' } else { '?' };
        // Else the driver asks the server where it is, and goes there.
        format!("{scheme}://{user}{address}{path}{sign}directConnection=true")
    }

    /// For `store.url`.
    #[must_use]
    pub fn store_url(&self) -> &str {
        self.database.url()
    }

    /// For `broker.url`.
    #[must_use]
    pub fn broker_url(&self) -> &str {
        &self.broker_url
    }

    /// What RabbitMQ has to say of it.
    #[must_use]
    pub fn rabbit(&self) -> &Management {
        &self.management
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.has_own_vhost {
            let management = self.management.clone();
            // A test may end within a runtime, in which nothing can be waited for.
            let tidying = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(management.delete_vhost()))
            });
            let _ = tidying.join();
        }
    }
}

impl Management {
    fn new(url: &str, vhost: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
        Ok(Self { http, url: Url::parse(url).context("RABBITMQ_MANAGEMENT_URL")?, vhost: vhost.to_owned() })
    }

    /// What waits in each queue.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn waiting(&self) -> anyhow::Result<Vec<Waiting>> {
        // The totals come with the list alone, and only when the rest of the statistics is left out.
        let mut url = self.address(&["queues", &self.vhost]);
        url.set_query(Some("disable_stats=true&enable_queue_totals=true"));
        let queues: Vec<Value> = self.http.get(url).send().await?.error_for_status()?.json().await?;
        let waiting = |queue: &Value| {
            Some(Waiting {
                queue: queue["name"].as_str()?.to_owned(),
                ready: queue["messages_ready"].as_u64()?,
                unacknowledged: queue["messages_unacknowledged"].as_u64()?,
            })
        };
        Ok(queues.iter().filter_map(waiting).collect())
    }

    /// Throws away what waits in a queue.
    ///
    /// # Errors
    /// There is no such queue, or no answer.
    pub async fn purge(&self, queue: &str) -> anyhow::Result<()> {
        self.request(Method::DELETE, &["queues", &self.vhost, queue, "contents"]).send().await?.error_for_status()?;
        Ok(())
    }

    async fn create_vhost(&self, user: &str) -> anyhow::Result<()> {
        self.request(Method::PUT, &["vhosts", &self.vhost]).json(&json!({})).send().await?.error_for_status()?;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        let permissions = self.request(Method::PUT, &["permissions", &self.vhost, user]).json(&everything);
        permissions.send().await?.error_for_status()?;
        Ok(())
    }

    async fn delete_vhost(&self) -> anyhow::Result<()> {
        let request = self.request(Method::DELETE, &["vhosts", &self.vhost]).timeout(TIDY_PATIENCE);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.http.request(method, self.address(path))
    }

    /// Each part of the path is encoded: the first virtual host is called `/`.
    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        url
    }
}

impl PrivateRabbit {
    /// Starts a node, and waits until it answers: some seconds.
    ///
    /// # Errors
    /// It did not start.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("rabbit-").tempdir()?;
        let said = run_script("start", folder.path()).await?;
        let variable = |name: &str| {
            let start = format!("export {name}='");
            let value = said.lines().find_map(|line| line.strip_prefix(&start)?.strip_suffix('\''));
            value.map(str::to_owned).with_context(|| format!("deploy/services did not print {name}: {said}"))
        };
        let management = Management::new(&variable("RABBITMQ_MANAGEMENT_URL")?, "/")?;
        Ok(Self { url: variable("AMQP_URL")?, folder, management })
    }

    /// For `broker.url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has to say of its queues.
    #[must_use]
    pub fn management(&self) -> &Management {
        &self.management
    }

    /// Stops it in good order. Its data stays.
    ///
    /// # Errors
    /// The script failed.
    pub async fn stop(&self) -> anyhow::Result<()> {
        run_script("stop", self.folder.path()).await.map(drop)
    }

    /// Stops it in good order, and starts it again.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn restart(&self) -> anyhow::Result<()> {
        run_script("restart", self.folder.path()).await.map(drop)
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// The script failed.
    pub async fn kill(&self) -> anyhow::Result<()> {
        run_script("kill", self.folder.path()).await.map(drop)
    }

    /// Raises its memory alarm: it takes nothing that is published any more.
    ///
    /// # Errors
    /// The script failed.
    pub async fn raise_alarm(&self) -> anyhow::Result<()> {
        self.alarm("on").await
    }

    /// Ends its memory alarm.
    ///
    /// # Errors
    /// The script failed.
    pub async fn end_alarm(&self) -> anyhow::Result<()> {
        self.alarm("off").await
    }

    async fn alarm(&self, what: &str) -> anyhow::Result<()> {
        let mut shell = Command::new("bash");
        let call = "set -eu; . \"$0/process.sh\"; . \"$0/rabbitmq.sh\"; folder=$1; rabbitmq_alarm \"$2\"";
        shell.args(["-c", call, PARTS]).arg(self.folder.path()).arg(what).stdin(Stdio::null());
        let ran = tokio::task::spawn_blocking(move || shell.output()).await?.context("there is no bash")?;
        ensure!(ran.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], at the same address and with what was durable.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        run_script("start", self.folder.path()).await.map(drop)
    }
}

impl Drop for PrivateRabbit {
    fn drop(&mut self) {
        // Nobody needs what it has: a crash is quicker, and `stop` then ends what it has left behind.
        for command in ["kill", "stop"] {
            let _ = script(command, self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

fn script(command: &str, folder: &Path) -> Command {
    let mut script = Command::new(SCRIPT);
    script.arg(command).arg("--folder").arg(folder).arg("rabbitmq").stdin(Stdio::null());
    script
}

/// What the script prints.
async fn run_script(command: &str, folder: &Path) -> anyhow::Result<String> {
    let mut script = script(command, folder);
    let ran = tokio::task::spawn_blocking(move || script.output()).await?.context("deploy/services cannot be run")?;
    ensure!(ran.status.success(), "deploy/services: {}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

/// Different from every other name, in this process and in those beside it.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("test-{now}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn required(name: &str) -> String {
    match env::var(name) {
        Ok(url) if !url.is_empty() => url,
        _ => panic!("{name} is not set: run the tests with `make test`, or start servers with `deploy/services start`"),
    }
}

/// The scheme of a URL, who and where, and the rest from the first slash on. No library: MongoDB's URLs may name many
/// hosts, which no other URL does.
pub(crate) fn parts(url: &str) -> (&str, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (scheme, authority, path)
}

/// The URL with this path in place of its own.
pub(crate) fn with_path(url: &str, path: &str) -> String {
    let (scheme, authority, rest) = parts(url);
    let query = rest.find('?').map_or("", |start| &rest[start..]);
    format!("{scheme}://{authority}/{path}{query}")
}

/// The user in a URL; RabbitMQ's own without one.
fn user_of(url: &str) -> String {
    let user = Url::parse(url).map(|url| url.username().to_owned()).unwrap_or_default();
    if user.is_empty() { "guest".to_owned() } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_takes_the_place_of_another() {
        for (url, expected) in [
            ("mongodb://h:1", "mongodb://h:1/x"),
            ("mongodb://h:1?w=1", "mongodb://h:1/x?w=1"),
            ("mongodb://u:p@a:1,b:2/?replicaSet=rs0", "mongodb://u:p@a:1,b:2/x?replicaSet=rs0"),
            ("amqp://guest:guest@h:5672/%2f", "amqp://guest:guest@h:5672/x"),
        ] {
            assert_eq!(with_path(url, "x"), expected);
        }
        assert_eq!((user_of("amqp://me:p@h"), user_of("amqp://h")), ("me".to_owned(), "guest".to_owned()));
    }
}
