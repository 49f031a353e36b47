//! The gateway: the real nginx with the repository's configuration, before real servers, and before fakes where a
//! replica has to fail on cue.

mod answers;
mod balance;
mod fake;
mod limits;
mod raw;
mod repeat;
mod settings;
mod stream;
mod tls;

use gristmill_common::http::Problem;
use gristmill_testkit::{Gateway, GatewayBuilder, Server, ServerBuilder};
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A real server with a store of its own, which lasts as long.
pub(crate) struct Replica {
    pub(crate) server: Server,
    _data: TempDir,
}

/// Starts a server.
pub(crate) async fn replica() -> Replica {
    let data = tempfile::tempdir().expect("a folder");
    let server = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path()).start().await.expect("a server");
    Replica { server, _data: data }
}

/// Starts a gateway before these.
pub(crate) async fn gateway<'a>(replicas: impl IntoIterator<Item = &'a str>) -> Gateway {
    GatewayBuilder::new(replicas).start().await.expect("a gateway")
}

/// A client that opens a connection for each request.
pub(crate) fn fresh_connections() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client")
}

/// A job that takes so long.
pub(crate) fn sleep(ms: u64) -> Value {
    json!({"type": "sleep", "payload": {"ms": ms}})
}

/// An answer that must be an error: its content type, shape and status are checked.
pub(crate) async fn problem(answer: Response, status: u16, code: &str) -> Problem {
    assert_eq!(answer.status().as_u16(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let id = answer.headers()["x-request-id"].to_str().expect("text").to_owned();
    let problem: Problem = answer.json().await.expect("a problem");
    check(&problem, status, code);
    assert_eq!(problem.request_id, id);
    problem
}

/// The parts of an error that are the same everywhere.
pub(crate) fn check(problem: &Problem, status: u16, code: &str) {
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{problem:?}");
    assert!(!problem.title.is_empty() && problem.detail.ends_with('.'), "{problem:?}");
}
