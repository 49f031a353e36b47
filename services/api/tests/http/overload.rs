//! More than the service takes on: turned away before it is read, and nothing is kept of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Options, PATIENCE, Stack};

/// A server that takes on so many requests, and so many bytes of bodies.
async fn spawn(requests: usize, bytes: usize) -> Stack {
    let mut options = Options { slots: 0, ..Options::default() };
    (options.api.max_in_flight, options.api.max_body_memory) = (requests, bytes);
    options.api.max_json_bytes = 50_000;
    options.spawn().await
}

/// A job whose JSON is so long.
fn job(bytes: usize) -> String {
    let around = json!({"type": "word_count", "payload": {"text": ""}}).to_string().len();
    json!({"type": "word_count", "payload": {"text": "x".repeat(bytes - around)}}).to_string()
}

/// A submission of which the head and one byte were sent.
struct Slow {
    stream: TcpStream,
    rest: String,
}

impl Slow {
    fn begin(stack: &Stack, bytes: usize) -> Self {
        let (mut stream, body) = (stack.connect(), job(bytes));
        let head = "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
        let begin = format!("{head}\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n{}", &body[..1]);
        stream.write_all(begin.as_bytes()).expect("sent");
        Self { stream, rest: body[1..].to_owned() }
    }

    /// Sends what is missing, and returns the answer's status.
    fn end(mut self) -> u16 {
        self.stream.write_all(self.rest.as_bytes()).expect("sent");
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// Whether it was refused already.
    fn is_answered(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let answered = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("a socket");
        answered
    }
}

/// Begins so many submissions of so many bytes, of which the server takes no more beside another job, of `more` bytes.
/// Returns the answer to that.
async fn fill<const N: usize>(stack: &Stack, bytes: usize, more: usize) -> ([Slow; N], Answer) {
    let mut slow = std::array::from_fn(|_| Slow::begin(stack, bytes));
    let started = Instant::now();
    loop {
        let answer = stack.post_raw("/api/v1/jobs", job(more)).await;
        if answer.status.as_u16() == 503 {
            return (slow, answer);
        }
        assert!(started.elapsed() < PATIENCE, "it is still {}", answer.text);
        // The other was faster than one of these.
        slow.iter_mut().filter(|slow| slow.is_answered()).for_each(|slow| *slow = Slow::begin(stack, bytes));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Submits a job of so many bytes again and again, until it is taken.
async fn until_taken(stack: &Stack, bytes: usize) {
    let started = Instant::now();
    while stack.post_raw("/api/v1/jobs", job(bytes)).await.status.as_u16() != 202 {
        assert!(started.elapsed() < PATIENCE, "it is still refused");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_find_no_room_are_refused_before_they_are_read() {
    let stack = spawn(1_024, 100_000).await;
    let (slow, refused) = fill::<2>(&stack, 45_000, 20_000).await;
    let refused = refused.refused(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    let before = stack.count().await;

    // Not a byte of it was sent, and the answer is there.
    let mut stream = stack.connect();
    let head =
        "POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 20000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 503");
    // Without a length, a body takes as much as it may have, and a text a few pieces.
    let chunks = futures::stream::iter(vec![Ok::<_, std::io::Error>(job(1_000))]);
    stack.post_raw("/api/v1/jobs", reqwest::Body::wrap_stream(chunks)).await.refused(503, "overloaded");
    stack.post_text("/api/v1/jobs?type=word_count", "a text").await.refused(503, "overloaded");
    assert_eq!(stack.count().await, before, "nothing that was refused was taken");

    // What reads and what is small goes on.
    stack.get("/api/v1/jobs").await.expect(200);
    stack.post_raw("/api/v1/jobs", job(5_000)).await.expect(202);
    assert_eq!(slow.map(Slow::end), [202, 202]);
    stack.post_raw("/api/v1/jobs", job(50_000)).await.expect(202);
    stack.post_text("/api/v1/jobs?type=word_count", "a text").await.expect(202);
    let metrics = stack.get("/metrics").await.text;
    assert!(metrics.contains(r#"gristmill_requests_shed_total{reason="body_memory"}"#), "{metrics}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_or_is_refused_gives_its_room_back() {
    let stack = spawn(1_024, 50_000).await;
    drop(fill::<1>(&stack, 45_000, 10_000).await);
    until_taken(&stack, 50_000).await;
    for _ in 0..3 {
        stack.post_raw("/api/v1/jobs", format!("{}!", job(40_000))).await.refused(400, "malformed_json");
        let chunks = futures::stream::iter(vec![Ok::<_, std::io::Error>(job(40_000))]);
        stack.post_raw("/api/v1/jobs", reqwest::Body::wrap_stream(chunks)).await.expect(202);
        stack.post_text("/api/v1/jobs?type=none", "a text").await.refused(422, "unknown_job_type");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_are_worked_on_at_once_are_refused() {
    let stack = spawn(2, 1 << 20).await;
    let id = stack.submit(json!({"type": "word_count", "payload": {"text": "a"}})).await;
    let (slow, refused) = fill::<2>(&stack, 1_000, 1_000).await;
    let refused = refused.refused(503, "overloaded");
    assert_eq!(refused.header("retry-after"), "1");
    // One without a body counts as well; what reads does not.
    stack.send(Method::POST, &format!("/api/v1/jobs/{id}/cancel")).await.refused(503, "overloaded");
    stack.get(&format!("/api/v1/jobs/{id}")).await.expect(200);
    stack.get("/health/ready").await.expect(200);
    assert_eq!(slow.map(Slow::end), [202, 202]);
    stack.send(Method::POST, &format!("/api/v1/jobs/{id}/cancel")).await.expect(202);
    let metrics = stack.get("/metrics").await.text;
    assert!(metrics.contains(r#"gristmill_requests_shed_total{reason="in_flight"}"#), "{metrics}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_job_takes_no_place() {
    let stack = spawn(1, 1 << 20).await;
    let id = stack.submit(json!({"type": "word_count", "payload": {"text": "a"}})).await;
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let request = stack.request(Method::GET, &format!("/api/v1/jobs/{id}")).header("prefer", "wait=3");
            tokio::spawn(Answer::of(request))
        })
        .collect();
    // They hang for three seconds, whenever they come, and all the while others are taken.
    while !waiting.iter().all(tokio::task::JoinHandle::is_finished) {
        stack.submit(json!({"type": "word_count", "payload": {"text": "b"}})).await;
    }
    for answer in waiting {
        assert_eq!(answer.await.expect("no panic").expect(200).json["state"], "queued");
    }
    stack.send(Method::POST, &format!("/api/v1/jobs/{id}/cancel")).await.expect(202);
    stack.stop().await;
}
