//! Clients that misbehave, on sockets of their own.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Options, PATIENCE, exchange, read_to_end, spawn, spawn_idle};

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// Reads one answer of JSON without lists, and leaves the connection open.
fn read_to_brace(stream: &mut TcpStream) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 1_024]);
    while !answer.ends_with(b"}") {
        let read = stream.read(&mut piece).expect("an answer");
        assert!(read > 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_come_too_slowly_are_given_up() {
    let mut options = Options { slots: 0, ..Options::default() };
    options.api.header_timeout = Duration::from_millis(200);
    let stack = options.spawn().await;
    let answer = exchange(stack.connect(), b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-slow");
    assert_eq!(status(&answer), "408", "{answer}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_too_slowly_are_given_up() {
    let mut options = Options { slots: 0, ..Options::default() };
    options.api.body_timeout = Duration::from_millis(200);
    let stack = options.spawn().await;
    for (path, media) in [("/api/v1/jobs", "application/json"), ("/api/v1/jobs?type=word_count", "text/plain")] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media}\r\ncontent-length: 9\r\n\r\n{{");
        let mut stream = stack.connect();
        stream.write_all(head.as_bytes()).expect("sent");
        let answer = read_to_brace(&mut stream);
        assert_eq!(status(&answer), "408", "{answer}");
        assert!(answer.contains(r#""code":"request_timeout""#), "{answer}");
    }
    assert_eq!(stack.count().await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_cut_off_midway_leaves_nothing() {
    let stack = spawn_idle().await;
    let head = "POST /api/v1/jobs?type=word_count HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n";
    let text = "word ".repeat(60_000);
    let with_length = format!("{head}content-length: 1000000\r\n\r\n{text}");
    let in_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n10\r\nhalf", text.len());
    for request in [with_length, in_chunks] {
        // Half closed: the answer can still be read.
        let mut stream = stack.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let answer = read_to_end(&mut stream);
        assert_eq!(status(&answer), "400", "{answer}");
        assert!(answer.contains(r#""code":"body_incomplete""#), "{answer}");
        // Gone altogether.
        let mut stream = stack.connect();
        stream.write_all(request.as_bytes()).expect("sent");
        drop(stream);
    }
    assert_eq!(stack.count().await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_have_a_limit() {
    let stack = spawn_idle().await;
    let request = |bytes: usize| {
        format!("GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-long: {}\r\n\r\n", "x".repeat(bytes))
    };
    assert_eq!(status(&exchange(stack.connect(), request(30_000).as_bytes())), "200");
    let answer = exchange(stack.connect(), request(40_000).as_bytes());
    assert_eq!(status(&answer), "431", "{answer}");
    assert!(answer.contains(r#""code":"headers_too_large""#), "{answer}");
    // So large that the HTTP layer does not take them in at all: what it has not read may cost the client the answer.
    let mut stream = stack.connect();
    let _ = stream.write_all(request(1_000_000).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(["431", ""].contains(&status(&String::from_utf8_lossy(&answer))));
    stack.get("/health/live").await.expect(200);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused() {
    let stack = spawn_idle().await;
    for nonsense in [
        "hello\r\n\r\n",
        "GET /\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
    ] {
        assert_eq!(status(&exchange(stack.connect(), nonsense.as_bytes())), "400", "{nonsense:?}");
    }
    stack.get("/health/live").await.expect(200);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusal_of_a_large_body_reaches_the_client() {
    let stack = spawn_idle().await;
    let body = "x".repeat(3 * 1024 * 1024);
    let request = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = stack.connect();
    stream.write_all(request.as_bytes()).expect("all of it is taken");
    let answer = read_to_brace(&mut stream);
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains(r#""code":"payload_too_large""#), "{answer}");
    drop(stream);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_end_is_not_read_for_ever() {
    let stack = spawn_idle().await;
    let mut stream = stack.connect();
    stream.write_all(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").expect("sent");
    let mut reader = stream.try_clone().expect("a clone");
    let reading = tokio::task::spawn_blocking(move || {
        let mut answer = Vec::new();
        // The server may reset the connection in the end; the answer has come before.
        let _ = reader.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let writing = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        while stream.write_all(b"1\r\nx\r\n").is_ok() && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        started.elapsed()
    });
    let answer = reading.await.expect("no panic");
    assert_eq!(status(&answer), "404", "{answer}");
    assert!(writing.await.expect("no panic") < Duration::from_secs(20));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_a_small_refusal() {
    let stack = spawn_idle().await;
    let mut stream = stack.connect();
    let refused = "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nhello";
    let last = "GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(refused.as_bytes()).expect("sent");
    assert_eq!(status(&read_to_brace(&mut stream)), "415");
    assert_eq!(status(&exchange(stream, last.as_bytes())), "200");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_leaves_a_whole_job_or_none() {
    let stack = spawn().await;
    let body = json!({"type": "word_count", "payload": {"text": "a b"}}).to_string();
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        let mut stream = stack.connect();
        let request = format!(
            "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nidempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("sent");
    }
    // Asked again, each is there once, and whole.
    for key in &keys {
        let request = stack.request(Method::POST, "/api/v1/jobs").header("idempotency-key", key);
        let request = request.header("content-type", "application/json").body(body.clone());
        let id = Answer::of(request).await.expect(202).json["id"].as_str().expect("an id").to_owned();
        assert_eq!(stack.ended(&id).await["result"]["words"], 2);
    }
    assert_eq!(stack.count().await, 40);
    stack.stop().await;
}
