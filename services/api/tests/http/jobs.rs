//! One job: submitted, looked at, waited for, cancelled, retried, deleted.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Options, exchange, read_to_end, spawn, spawn_idle};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_accepted_run_and_its_result_fetched() {
    let stack = spawn().await;
    let accepted =
        stack.post("/api/v1/jobs", &json!({"type": "word_count", "payload": {"text": "a b a"}})).await.expect(202);
    let id = accepted.json["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("job_") && id.len() == 30);
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{id}"));
    assert_eq!(accepted.header("content-type"), "application/json");
    assert_eq!(accepted.json["queue"], "default");
    assert_eq!(accepted.json["priority"], "normal");
    assert_eq!(accepted.json["attempt"], 0);
    assert_eq!(accepted.json["result"], json!(null));
    assert!(accepted.json.get("payload").is_none());

    let job = stack.ended(&id).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(
        (&job["result"]["words"], &job["attempt"], &job["progress"]["percent"]),
        (&json!(3), &json!(1), &json!(100))
    );
    let result = stack.get(&format!("/api/v1/jobs/{id}/result")).await.expect(200);
    assert_eq!((result.header("content-type"), &result.json), ("application/json", &job["result"]));
    let history = stack.get(&format!("/api/v1/jobs/{id}/history")).await.expect(200).json;
    let what: Vec<_> = history["items"].as_array().expect("items").iter().map(|entry| entry["what"].clone()).collect();
    assert_eq!((what, &history["omitted"]), (vec![json!("created"), json!("claimed"), json!("succeeded")], &json!(0)));
    let logs = stack.get(&format!("/api/v1/jobs/{id}/logs")).await.expect(200).json;
    assert!(logs["items"].is_array(), "{logs}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_comes_back_as_it_was_sent_when_asked_for() {
    let stack = spawn_idle().await;
    let payload = r#"{"text" : "é \u00e9", "top":1}"#;
    let id =
        stack.post_raw("/api/v1/jobs", format!(r#"{{"type":"word_count","payload":{payload}}}"#)).await.expect(202);
    let path = format!("/api/v1/jobs/{}?include=payload", id.json["id"].as_str().expect("an id"));
    let whole = stack.get(&path).await.expect(200);
    assert!(whole.text.contains(payload), "{}", whole.text);
    stack.get(&path.replace("payload", "all")).await.refused(422, "invalid_query").at("?include");
    stack.get(&path.replace("include", "exclude")).await.refused(422, "invalid_query").at("?exclude");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_not_changed_is_not_sent_again() {
    let stack = spawn_idle().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    let path = format!("/api/v1/jobs/{id}");
    let first = stack.get(&path).await.expect(200);
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.contains(&id), "{etag}");
    assert_eq!(first.header("retry-after"), "1");
    let ask = |tag: String| Answer::of(stack.request(Method::GET, &path).header("if-none-match", tag));
    for known in [etag.clone(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = ask(known).await.expect(304);
        assert_eq!(
            (answer.text.as_str(), answer.header("etag"), answer.header("retry-after")),
            ("", etag.as_str(), "1")
        );
    }
    ask("\"x\"".to_owned()).await.expect(200);
    // The payload makes it another representation.
    let with_payload = stack.get(&format!("{path}?include=payload")).await.expect(200);
    assert_ne!(with_payload.header("etag"), etag);

    stack.send(Method::POST, &format!("{path}/cancel")).await.expect(202);
    let changed = ask(etag.clone()).await.expect(200);
    assert_ne!(changed.header("etag"), etag);
    assert!(!changed.headers.contains_key("retry-after"));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_wait_for_the_end() {
    let stack = spawn().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 300}})).await;
    let path = format!("/api/v1/jobs/{id}");
    let wait = |prefer: &'static str| Answer::of(stack.request(Method::GET, &path).header("prefer", prefer));
    // Too short a wait answers with the job as it is; what is no wait is ignored.
    assert_ne!(wait("wait=0").await.expect(200).json["state"], "succeeded");
    assert!(!wait("wait=soon").await.expect(200).headers.contains_key("preference-applied"));
    let ended = wait("respond-async, wait=99999").await.expect(200);
    assert_eq!((ended.json["state"].as_str(), ended.header("preference-applied")), (Some("succeeded"), "wait=60"));
    // First the wait, then the comparison.
    let etag = ended.header("etag").to_owned();
    let request = stack.request(Method::GET, &path).header("prefer", "wait=5").header("if-none-match", etag);
    Answer::of(request).await.expect(304);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_process_releases_those_who_wait() {
    let mut options = Options { slots: 0, ..Options::default() };
    options.api.threads = 1;
    let stack = options.spawn().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    let mut waiting = stack.connect();
    let request = format!("GET /api/v1/jobs/{id} HTTP/1.1\r\nhost: x\r\nprefer: wait=60\r\n\r\n");
    waiting.write_all(request.as_bytes()).expect("sent");
    // The one thread that serves takes connections in turn: once a later one is answered, the first waits.
    exchange(stack.connect(), b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let started = Instant::now();
    stack.stop().await;
    let answer = read_to_end(&mut waiting);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""state":"queued""#), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_answers_as_get_without_the_body() {
    let stack = spawn().await;
    let id = stack.submit(json!({"type": "word_count", "payload": {"text": "a"}})).await;
    stack.ended(&id).await;
    for path in [
        format!("/api/v1/jobs/{id}"),
        format!("/api/v1/jobs/{id}/result"),
        "/api/v1/jobs".into(),
        "/health/live".into(),
        "/openapi.json".into(),
    ] {
        let whole = stack.get(&path).await.expect(200);
        let head = stack.send(Method::HEAD, &path).await.expect(200);
        assert_eq!(head.text, "");
        assert_eq!(head.header("content-length"), whole.text.len().to_string(), "{path}");
        assert_eq!(head.header("etag"), whole.header("etag"));
    }
    stack.send(Method::HEAD, "/api/v1/jobs/job_x").await.expect(404);
    stack.send(Method::HEAD, "/nowhere").await.expect(404);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_the_same_request_the_same_job() {
    let stack = spawn_idle().await;
    let send = |key: &'static str, ms: u64| {
        let body = json!({"type": "sleep", "payload": {"ms": ms}});
        Answer::of(stack.request(Method::POST, "/api/v1/jobs").header("idempotency-key", key).json(&body))
    };
    let first = send("one", 1).await.expect(202);
    let again = send("\"one\"", 1).await.expect(202);
    assert_eq!(first.json["id"], again.json["id"]);
    assert_ne!(send("two", 1).await.expect(202).json["id"], first.json["id"]);
    send("one", 2).await.refused(422, "idempotency_key_reused");
    send("a b", 1).await.refused(422, "invalid_idempotency_key");
    assert_eq!(stack.count().await, 2);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_wait_for_its_time() {
    let stack = spawn().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 3_600_000})).await;
    assert_eq!(stack.get(&format!("/api/v1/jobs/{id}")).await.json["state"], "scheduled");
    stack.clock.shift(3_600_001);
    assert_eq!(stack.reached(&id, "succeeded").await["state"], "succeeded");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_cancelled_retried_and_deleted() {
    let stack = spawn_idle().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    let path = format!("/api/v1/jobs/{id}");
    stack.send(Method::DELETE, &path).await.refused(409, "job_not_finished");
    stack.send(Method::POST, &format!("{path}/retry")).await.refused(409, "job_not_retryable");
    stack.get(&format!("{path}/result")).await.refused(409, "job_not_finished");
    let cancelled = stack.send(Method::POST, &format!("{path}/cancel")).await.expect(202);
    assert_eq!(cancelled.json["state"], "cancelled");
    stack.send(Method::POST, &format!("{path}/cancel")).await.refused(409, "job_already_finished");
    stack.get(&format!("{path}/result")).await.refused(409, "job_has_no_result");
    let again = stack.send(Method::POST, &format!("{path}/retry")).await.expect(202);
    assert_eq!((again.json["state"].as_str(), &again.json["max_attempts"]), (Some("queued"), &json!(6)));
    stack.send(Method::POST, &format!("{path}/cancel")).await.expect(202);
    let gone = stack.send(Method::DELETE, &path).await.expect(204);
    assert_eq!(gone.text, "");
    stack.get(&path).await.refused(404, "job_not_found");
    stack.send(Method::DELETE, &path).await.refused(404, "job_not_found");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_asked_to_stop() {
    let stack = spawn().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 60_000}})).await;
    stack.reached(&id, "running").await;
    let asked = stack.send(Method::POST, &format!("/api/v1/jobs/{id}/cancel")).await.expect(202);
    assert_eq!((asked.json["state"].as_str(), &asked.json["cancel_requested"]), (Some("running"), &json!(true)));
    assert_eq!(stack.ended(&id).await["state"], "cancelled");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_says_why_and_runs_again_by_hand() {
    let stack = spawn().await;
    let body = json!({"type": "fail", "payload": {"message": "no", "until_attempt": 3}, "max_attempts": 2, "backoff": {"kind": "none"}});
    let id = stack.submit(body).await;
    let failed = stack.ended(&id).await;
    assert_eq!(failed["state"], "failed");
    assert_eq!(failed["error"], json!({"code": "failed_on_purpose", "message": "no", "attempt": 2}));
    stack.get(&format!("/api/v1/jobs/{id}/result")).await.refused(409, "job_has_no_result");
    let dead = stack.get("/api/v1/dead-letters").await.expect(200);
    assert_eq!(dead.json["items"][0]["id"], json!(id));
    stack.send(Method::POST, &format!("/api/v1/jobs/{id}/retry")).await.expect(202);
    assert_eq!(stack.ended(&id).await["result"], json!({"attempt": 3}));
    assert_eq!(stack.get("/api/v1/dead-letters").await.json["items"], json!([]));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_left_out_of_the_job_and_fetched_alone() {
    let stack = spawn().await;
    // A thousand different words of a hundred letters make a list of more than 64 KiB.
    let text: String = (0..1_000).map(|n| format!("{n:0100} ")).collect();
    let id = stack.submit(json!({"type": "word_count", "payload": {"text": text, "top": 1_000}})).await;
    let job = stack.ended(&id).await;
    assert_eq!((job["state"].as_str(), &job["result"]), (Some("succeeded"), &json!(null)), "{job}");
    let result = stack.get(&format!("/api/v1/jobs/{id}/result")).await.expect(200);
    assert!(result.text.len() > 64 * 1024);
    assert_eq!(result.json["top_words"].as_array().map(Vec::len), Some(1_000));
    let head = stack.send(Method::HEAD, &format!("/api/v1/jobs/{id}/result")).await.expect(200);
    assert_eq!(head.header("content-length"), result.text.len().to_string());
    stack.stop().await;
}
