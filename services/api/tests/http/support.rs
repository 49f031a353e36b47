//! A real server on a free port: an engine on SQLite in a folder of its own, a worker and a scheduler.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gristmill_api::ApiConfig;
use gristmill_common::{Clock, QueueName};
use gristmill_engine::{Engine, EngineConfig, Scheduler, SchedulerConfig, Worker, WorkerConfig};
use gristmill_runtime::{health::Readiness, telemetry::Metrics};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server.
pub(crate) struct Stack {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    client: reqwest::Client,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    _folder: TempDir,
}

/// What a test wants to be different.
pub(crate) struct Options {
    pub(crate) api: ApiConfig,
    /// Jobs that run at once; without a worker, jobs stay queued.
    pub(crate) slots: usize,
}

impl Default for Options {
    fn default() -> Self {
        let api = ApiConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            max_json_bytes: 2 * 1024 * 1024,
            max_batch_bytes: 16 * 1024 * 1024,
            max_text_bytes: 4 * 1024 * 1024,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            max_wait: Duration::from_secs(60),
            threads: 2,
            max_in_flight: 1_024,
            max_body_memory: 256 << 20,
            drain: Duration::from_secs(5),
        };
        Self { api, slots: 8 }
    }
}

/// A server with a worker.
pub(crate) async fn spawn() -> Stack {
    Options::default().spawn().await
}

/// A server without one: jobs stay as they are.
pub(crate) async fn spawn_idle() -> Stack {
    Options { slots: 0, ..Options::default() }.spawn().await
}

impl Options {
    pub(crate) async fn spawn(self) -> Stack {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::start();
        let shutdown = CancellationToken::new();
        let url = format!("sqlite://{}", folder.path().display());
        let store = gristmill_storage::open(&url, &clock).await.expect("a store").store;
        let broker = gristmill_broker::open("embedded:").await.expect("a broker").broker;
        let registry = gristmill_handlers::built_in().and_then(gristmill_handlers::test_types).expect("handlers");
        let config = EngineConfig {
            max_text_bytes: self.api.max_text_bytes,
            queues: vec![QueueName::default()],
            ..EngineConfig::default()
        };
        let engine =
            Engine::start(store, broker, registry, clock.clone(), config, shutdown.clone()).await.expect("an engine");
        let pinged = engine.clone();
        let readiness = Readiness::new().with("store", move || {
            let engine = pinged.clone();
            async move { engine.ping_store().await }
        });
        let metrics = Metrics::install().expect("the process's recorder");
        let server = gristmill_api::bind(self.api, engine.clone(), readiness, metrics).expect("a free port");
        let address = server.address();
        let stop = shutdown.clone();
        let mut tasks = vec![tokio::spawn(async move { server.run(stop).await.expect("an orderly end") })];
        let scheduler = Scheduler::new(
            engine.clone(),
            SchedulerConfig { tick: Duration::from_millis(50), ..SchedulerConfig::default() },
        );
        tasks.push(tokio::spawn(async move { scheduler.run().await }));
        if self.slots > 0 {
            let config = WorkerConfig {
                concurrency: self.slots,
                heartbeat: Duration::from_millis(100),
                ..WorkerConfig::default()
            };
            let worker = Worker::new(engine, config);
            tasks.push(tokio::spawn(async move { worker.run().await }));
        }
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Stack { address, clock, client, shutdown, tasks, _folder: folder }
    }
}

impl Stack {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path)).await
    }

    /// Sends these bytes as JSON.
    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(Method::POST, path).header("content-type", "application/json").body(body)).await
    }

    pub(crate) async fn post_text(&self, path: &str, text: impl Into<reqwest::Body>) -> Answer {
        Answer::of(self.request(Method::POST, path).header("content-type", "text/plain").body(text)).await
    }

    /// Submits a job that is accepted, and returns its id.
    pub(crate) async fn submit(&self, body: Value) -> String {
        self.post("/api/v1/jobs", &body).await.expect(202).json["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until the job has ended, and returns it.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let request = self.request(Method::GET, &format!("/api/v1/jobs/{id}")).header("prefer", "wait=20");
        let job = Answer::of(request).await.expect(200).json;
        assert!(["succeeded", "failed", "cancelled"].contains(&job["state"].as_str().expect("a state")), "{job}");
        job
    }

    /// Waits until the job is in this state.
    pub(crate) async fn reached(&self, id: &str, state: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await.expect(200).json;
            if job["state"] == state {
                return job;
            }
            assert!(Instant::now() < until, "it is still {job}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many jobs there are.
    pub(crate) async fn count(&self) -> u64 {
        let counts = self.get("/api/v1/stats").await.expect(200).json["counts"].clone();
        counts.as_object().expect("counts").values().map(|count| count.as_u64().expect("a number")).sum()
    }

    /// A connection of one's own. Blocking: for `spawn_blocking`, or short exchanges.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Stops the server, and waits until everything has ended.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.expect("it stops").expect("no panic");
        }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null when it is no JSON.
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.expect("an answer")).await
    }

    async fn read(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a body");
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        assert!(headers.contains_key("x-request-id"), "every answer has an id: {headers:?}");
        Self { status, headers, text, json }
    }

    /// It has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// It is a problem with this status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.json["code"].as_str()), (status, Some(code)), "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["status"], json!(status));
        assert_eq!(self.json["request_id"], json!(self.header("x-request-id")));
        for field in ["title", "detail"] {
            assert!(self.json[field].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        self
    }

    /// It names this field as at fault.
    #[track_caller]
    pub(crate) fn at(self, pointer: &str) -> Self {
        let errors = self.json["errors"].as_array().cloned().unwrap_or_default();
        assert!(errors.iter().any(|error| error["pointer"] == pointer), "{pointer} is not in {}", self.text);
        self
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Writes all of it, whatever the server does in the meantime, and reads until the server closes.
pub(crate) fn exchange(mut stream: TcpStream, request: &[u8]) -> String {
    let _ = stream.write_all(request);
    read_to_end(&mut stream)
}

/// Reads until the server closes.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server closes");
    String::from_utf8(answer).expect("UTF-8")
}
