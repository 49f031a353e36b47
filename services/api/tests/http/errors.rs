//! What is refused, and how.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Options, spawn_idle};

const JOBS: &str = "/api/v1/jobs";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_strict_json_is_malformed() {
    let stack = spawn_idle().await;
    for body in [
        "",
        "{",
        "nul",
        "{}x",
        r#"{"type":"sleep","type":"fail"}"#,
        r#"{"type":"sleep","payload":{"ms":1,"\u006ds":2}}"#,
        "\u{feff}{}",
    ] {
        stack.post_raw(JOBS, body).await.refused(400, "malformed_json");
    }
    stack.post_raw(JOBS, &b"{\"type\": \"\xff\"}"[..]).await.refused(400, "malformed_json");
    for body in ["[]", "1", "null", r#"["sleep", {"ms": 1}]"#] {
        stack.post_raw(JOBS, body).await.refused(422, "invalid_job").at("");
    }
    assert_eq!(stack.count().await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_has_a_limit_and_100_000_levels_do_no_harm() {
    let stack = spawn_idle().await;
    let nested =
        |levels: usize| format!(r#"{{"type":"word_count","payload":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    stack.post_raw(JOBS, nested(100_000)).await.refused(422, "nesting_too_deep");
    stack.post_raw(JOBS, nested(128)).await.refused(422, "nesting_too_deep");
    // Deep enough for us, and then it does not fit the schema.
    stack.post_raw(JOBS, nested(127)).await.refused(422, "invalid_job").at("/payload");
    stack.post_raw(JOBS, "[".repeat(100_000)).await.refused(422, "nesting_too_deep");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_at_fault_are_named() {
    let stack = spawn_idle().await;
    let sleep = |field: &str, value: serde_json::Value| {
        let mut body = json!({"type": "sleep", "payload": {"ms": 1}});
        body[field] = value;
        body
    };
    for (body, pointer) in [
        (json!({"payload": {}}), "/type"),
        (sleep("type", json!(7)), "/type"),
        (sleep("colour", json!("red")), "/colour"),
        (sleep("payload", json!({"ms": "soon"})), "/payload/ms"),
        (sleep("payload", json!({"ms": 1, "us": 1})), "/payload"),
        (sleep("payload", json!(7)), "/payload"),
        (sleep("priority", json!("urgent")), "/priority"),
        (sleep("run_at", json!("tomorrow")), "/run_at"),
        (sleep("run_at", json!("2999-01-01T00:00:00Z")), "/run_at"),
        (sleep("run_at", json!("9999-12-31T23:59:59Z")), "/run_at"),
        (sleep("run_at", json!("2020-01-01T00:00:00Z")), "/run_at"),
        (sleep("delay_ms", json!(-1)), "/delay_ms"),
        (sleep("delay_ms", json!(1.5)), "/delay_ms"),
        (sleep("delay_ms", json!(1e30)), "/delay_ms"),
        (sleep("delay_ms", json!(u64::MAX)), "/delay_ms"),
        (sleep("max_attempts", json!(0)), "/max_attempts"),
        (sleep("max_attempts", json!(1_001)), "/max_attempts"),
        (sleep("timeout_ms", json!(0)), "/timeout_ms"),
        (sleep("deadline", json!("2001-01-01T00:00:00Z")), "/deadline"),
        (sleep("tags", json!("x")), "/tags"),
        (sleep("tags", json!(["x", 1])), "/tags/1"),
        (sleep("tags", json!([""])), "/tags/0"),
        (sleep("tags", json!(vec!["x"; 17])), "/tags"),
        (sleep("backoff", json!({"kind": "fixed"})), "/backoff/delay_ms"),
        (sleep("backoff", json!({"kind": "exponential", "factor": 0.5})), "/backoff/factor"),
    ] {
        stack.post(JOBS, &body).await.refused(422, "invalid_job").at(pointer);
    }
    let mut both = sleep("delay_ms", json!(1));
    both["run_at"] = json!("2027-01-01T00:00:00Z");
    stack.post(JOBS, &both).await.refused(422, "invalid_job");
    stack.post(JOBS, &sleep("type", json!("nothing"))).await.refused(422, "unknown_job_type").at("/type");
    stack.post(JOBS, &sleep("queue", json!("nowhere"))).await.refused(422, "unknown_queue").at("/queue");
    assert_eq!(stack.count().await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_none_are_jobs_that_are_not_there() {
    let stack = spawn_idle().await;
    for id in [
        "x",
        "job_",
        "job_00000000000000000000000000",
        "job_0000000000000000000000000I",
        "wrk_00000000000000000000000000",
        "%00",
        "%F0%9F%98%80",
    ] {
        let path = format!("{JOBS}/{id}");
        stack.get(&path).await.refused(404, "job_not_found");
        stack.get(&format!("{path}/result")).await.refused(404, "job_not_found");
        stack.get(&format!("{path}/history")).await.refused(404, "job_not_found");
        stack.get(&format!("{path}/logs")).await.refused(404, "job_not_found");
        stack.send(Method::POST, &format!("{path}/cancel")).await.refused(404, "job_not_found");
        stack.send(Method::POST, &format!("{path}/retry")).await.refused(404, "job_not_found");
        stack.send(Method::DELETE, &path).await.refused(404, "job_not_found");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_and_wrong_methods_are_problems() {
    let stack = spawn_idle().await;
    for path in [
        "/",
        "/nowhere",
        "/api/v1",
        "/api/v1/",
        "/api/v1/job",
        "/api/v2/jobs",
        "/api/v1/jobs/",
        "/api/v1/workflows",
        "/api/v1/runs",
    ] {
        stack.get(path).await.refused(404, "not_found");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1/jobs", "GET, HEAD, POST"),
        (Method::GET, "/api/v1/queues/default/pause", "POST"),
        (Method::POST, "/api/v1/queues/default", "PUT"),
        (Method::PATCH, "/api/v1/stats", "GET, HEAD"),
        (Method::from_bytes(b"BREW").expect("a method"), "/api/v1/stats", "GET, HEAD"),
        (Method::POST, "/health/live", "GET, HEAD"),
        (Method::DELETE, "/metrics", "GET, HEAD"),
        (Method::POST, "/openapi.json", "GET, HEAD"),
    ] {
        let answer = stack.send(method, path).await.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_other_types_are_refused() {
    let stack = spawn_idle().await;
    let send = |path: &'static str, content_type: &'static str| {
        let request = stack.request(Method::POST, path).header("content-type", content_type);
        Answer::of(request.body(r#"{"type":"sleep","payload":{"ms":1}}"#))
    };
    for wrong in [
        "application/x-www-form-urlencoded",
        "text/html",
        "application/json; charset=latin1",
        "json",
        "text/plain; charset=utf-16",
    ] {
        send(JOBS, wrong).await.refused(415, "unsupported_media_type");
    }
    send("/api/v1/jobs/batch", "text/plain").await.refused(415, "unsupported_media_type");
    send(JOBS, "Application/JSON;charset=UTF-8").await.expect(202);
    // Without a word it is taken for what nearly everybody sends.
    let bare = stack.request(Method::POST, JOBS).body(r#"{"type":"sleep","payload":{"ms":1}}"#);
    Answer::of(bare).await.expect(202);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_limit() {
    let mut options = Options { slots: 0, ..Options::default() };
    (options.api.max_json_bytes, options.api.max_batch_bytes) = (1_000, 2_000);
    let stack = options.spawn().await;
    let padded = |bytes: usize| {
        let body = r#"{"type":"sleep","payload":{"ms":1}}"#;
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    stack.post_raw(JOBS, padded(1_000)).await.expect(202);
    stack.post_raw(JOBS, padded(1_001)).await.refused(413, "payload_too_large");
    stack.post_raw("/api/v1/jobs/batch", format!("{{\"jobs\":[]}}{}", " ".repeat(1_989))).await.expect(202);
    stack
        .post_raw("/api/v1/jobs/batch", format!("{{\"jobs\":[]}}{}", " ".repeat(1_990)))
        .await
        .refused(413, "payload_too_large");
    // Without a length it is counted as it comes.
    let pieces = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(" ".repeat(100))));
    stack.post_raw(JOBS, reqwest::Body::wrap_stream(pieces)).await.refused(413, "payload_too_large");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_as_strict_as_a_body() {
    let stack = spawn_idle().await;
    let sleep = json!({"type": "sleep", "payload": {"ms": 1}});
    stack.post("/api/v1/jobs?priority=high", &sleep).await.refused(422, "invalid_query").at("?priority");
    stack.post("/api/v1/jobs/batch?x=1", &json!({"jobs": []})).await.refused(422, "invalid_query").at("?x");
    for path in ["/api/v1/workers", "/api/v1/queues", "/api/v1/job-types", "/api/v1/stats"] {
        stack.get(&format!("{path}?verbose=true")).await.refused(422, "invalid_query").at("?verbose");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_carries_the_id_of_its_request() {
    let stack = spawn_idle().await;
    let ask = |id: &'static str| Answer::of(stack.request(Method::GET, "/nowhere").header("x-request-id", id));
    assert_eq!(ask("my-id-7").await.refused(404, "not_found").json["request_id"], "my-id-7");
    assert!(ask("not sane").await.refused(404, "not_found").header("x-request-id").starts_with("req_"));
    let (one, two) = (stack.get("/health/live").await, stack.get("/health/live").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert_eq!(one.header("x-content-type-options"), "nosniff");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_change_nothing() {
    let stack = spawn_idle().await;
    let own = format!("http://{}", stack.address);
    let ask = |method: Method, path: &str, header: (&str, &str)| {
        let request = stack.request(method, path).header(header.0, header.1);
        Answer::of(request.header("content-type", "text/plain").body(r#"{"type": "sleep", "payload": {"ms": 1}}"#))
    };
    let text = "/api/v1/jobs?type=word_count";
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
    ] {
        ask(Method::POST, text, foreign).await.refused(403, "cross_site_request");
        ask(Method::POST, "/api/v1/queues/default/pause", foreign).await.refused(403, "cross_site_request");
        ask(Method::PUT, "/api/v1/queues/other", foreign).await.refused(403, "cross_site_request");
        ask(Method::GET, "/api/v1/jobs", foreign).await.expect(200);
    }
    assert_eq!(stack.count().await, 0);
    for own in [("origin", own.as_str()), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")] {
        ask(Method::POST, text, own).await.expect(202);
    }
    stack.stop().await;
}
