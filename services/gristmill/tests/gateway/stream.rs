//! Bodies that flow, and answers that are long in coming.

use std::time::{Duration, Instant};

use gristmill_testkit::{DEADLINE, GatewayBuilder, eventually};
use reqwest::{Body, Client, StatusCode};
use serde_json::Value;
use tokio::{io::AsyncReadExt, time::timeout};
use tokio_util::io::ReaderStream;

use crate::{
    fake::{Fake, Manner},
    gateway, problem,
    raw::Raw,
    replica, sleep,
};

const MIB: u64 = 1024 * 1024;

/// A text of so many bytes, its length not told.
fn text_of(bytes: u64) -> Body {
    Body::wrap_stream(ReaderStream::with_capacity(tokio::io::repeat(b'a').take(bytes), 64 * 1024))
}

#[tokio::test]
async fn a_text_flows_and_a_json_body_is_kept_until_it_is_whole() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let head = |kind: &str, name: &str| {
        let body = format!("Content-Type: {kind}\r\nContent-Length: 20\r\nX-Request-Id: {name}\r\n\r\n");
        format!("POST /api/v1/jobs?type=word_count HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{body}")
    };
    let mut json = Raw::to(&gateway).await;
    json.send(&(head("application/json", "kept") + "{\"first\": ")).await;

    let mut text = Raw::to(&gateway).await;
    text.send(&(head("text/plain; charset=utf-8", "flows") + "the first ")).await;
    eventually("the replica has the first piece", || async { fake.text().ends_with("the first ").then_some(()) }).await;
    assert_eq!(fake.requests(), 0, "it is not whole yet");
    text.send("the second").await;
    assert!(text.read_to_end().await.starts_with("HTTP/1.1 200"));

    assert!(!fake.text().contains("kept"), "half a body was passed on");
    json.send("\"second\" }").await;
    assert!(json.read_to_end().await.starts_with("HTTP/1.1 200"));
    assert!(fake.text().ends_with("{\"first\": \"second\" }"));
}

#[tokio::test]
async fn a_body_of_unknown_length_flows() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let mut client = Raw::to(&gateway).await;
    client.send("POST /api/v1/jobs HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n").await;
    client.send("Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    eventually("the replica has the first piece", || async { fake.text().contains("first").then_some(()) }).await;
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert!(client.read_to_end().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn large_bodies_arrive_whole_and_nothing_of_them_touches_the_gateways_disk() {
    let replica = replica().await;
    let gateway = gateway([replica.server.url()]).await;
    let http = Client::new();
    let post = |call: &str| http.post(gateway.api(call)).header("Content-Type", "text/plain");
    let accepted = post("/jobs?type=word_count").body(text_of(4 * MIB)).send().await.expect("an answer");
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    let job: Value = accepted.json().await.expect("json");
    let wait = http.get(gateway.api(&format!("/jobs/{}", job["id"].as_str().expect("an id"))));
    let ended: Value = wait.header("Prefer", "wait=30").send().await.expect("an answer").json().await.expect("json");
    assert_eq!((&ended["state"], &ended["result"]["bytes"]), (&"succeeded".into(), &(4 * MIB).into()));

    // The largest that is taken; nobody has to count it.
    let largest =
        post("/jobs?type=word_count&delay_ms=3600000").body(text_of(64 * MIB)).send().await.expect("an answer");
    assert_eq!(largest.status(), StatusCode::ACCEPTED);

    let jobs: Vec<Value> = (0..1000).map(|_| sleep_with("x".repeat(2_000))).collect();
    let batch = serde_json::json!({ "jobs": jobs });
    let answer = http.post(gateway.api("/jobs/batch")).json(&batch).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let log = std::fs::read_to_string(gateway.error_log()).expect("a log");
    assert!(!log.contains("temporary file"), "{log}");
}

fn sleep_with(ballast: String) -> Value {
    serde_json::json!({"type": "word_count", "payload": {"text": ballast}})
}

#[tokio::test]
async fn a_text_that_is_refused_early_is_told_why() {
    let replica = replica().await;
    let gateway = gateway([replica.server.url()]).await;
    let http = Client::new();
    let post = |call: &str| http.post(gateway.api(call)).header("Content-Type", "text/plain");
    for _ in 0..5 {
        let unknown = post("/jobs?type=nothing").body(text_of(20 * MIB)).send().await.expect("an answer");
        problem(unknown, 422, "unknown_job_type").await;
    }
    let large = post("/jobs?type=word_count").body(text_of(65 * MIB)).send().await.expect("an answer");
    problem(large, 413, "payload_too_large").await;
    let long = http.post(gateway.api("/jobs")).json(&sleep_with("x".repeat(3_000_000)));
    problem(long.send().await.expect("an answer"), 413, "payload_too_large").await;
}

#[tokio::test]
async fn a_wait_is_not_cut_where_other_answers_are() {
    let replica = replica().await;
    let short = ("gristmill.conf", "proxy_read_timeout 30s;", "proxy_read_timeout 1s;");
    let builder = GatewayBuilder::new([replica.server.url()]).with_edit(short.0, short.1, short.2);
    let gateway = builder.start().await.expect("a gateway");
    let http = Client::new();
    let accepted = http.post(gateway.api("/jobs")).json(&sleep(3_000)).send().await.expect("an answer");
    let job: Value = accepted.error_for_status().expect("accepted").json().await.expect("json");
    let id = job["id"].as_str().expect("an id");
    let asked = Instant::now();
    let waited = http.get(gateway.api(&format!("/jobs/{id}"))).header("Prefer", "respond-async, wait=20");
    let ended: Value = waited.send().await.expect("an answer").json().await.expect("json");
    assert_eq!(ended["state"], "succeeded", "{ended}");
    assert!(asked.elapsed() > Duration::from_secs(2), "there was something to wait for");
}

#[tokio::test]
async fn events_are_passed_on_as_they_come() {
    let fake = Fake::start(Manner::Streams).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let stream = Client::new().get(gateway.api("/events")).header("Accept", "text/event-stream");
    let mut answer = stream.send().await.expect("an answer");
    let first = timeout(DEADLINE, answer.chunk()).await.expect("in time").expect("a stream");
    assert_eq!(first.as_deref(), Some(&b"data: 1\n\n"[..]), "and there will be no second");
}

#[tokio::test]
async fn websockets_are_passed_on_both_ways() {
    let fake = Fake::start(Manner::Upgrades).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let mut client = Raw::to(&gateway).await;
    client
        .send("GET /api/v1/live HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(fake.text().contains("Upgrade: websocket\r\n"));
    client.send("there and back").await;
    client.read_until("there and back").await;
}
