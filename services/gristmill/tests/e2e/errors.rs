//! What is refused, and how: the same problems whoever answers.

use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::json;

async fn send(http: &Http, call: &str, body: impl Into<reqwest::Body>) -> Answer {
    Answer::of(http.call(Method::POST, call).header("Content-Type", "application/json").body(body)).await
}

pub(crate) async fn an_unknown_job_is_not_found(http: Http) {
    for id in ["x", "job_", "job_00000000000000000000000000", "wrk_00000000000000000000000000", "%F0%9F%98%80"] {
        let call = format!("/jobs/{id}");
        for (method, what) in [
            (Method::GET, ""),
            (Method::GET, "/result"),
            (Method::GET, "/history"),
            (Method::GET, "/logs"),
            (Method::POST, "/cancel"),
            (Method::POST, "/retry"),
            (Method::DELETE, ""),
        ] {
            http.send(method, &format!("{call}{what}")).await.refused(404, "job_not_found");
        }
    }
}

pub(crate) async fn what_makes_no_sense_is_refused_by_name(http: Http) {
    for body in ["", "{", "{}x", r#"{"type":"sleep","type":"fail"}"#, r#"{"type":"sleep","payload":{"ms":1,"ms":2}}"#] {
        send(&http, "/jobs", body).await.refused(400, "malformed_json");
    }
    let nested = format!(r#"{{"type":"sleep","payload":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    send(&http, "/jobs", nested).await.refused(422, "nesting_too_deep");
    let sleep = |field: &str, value: serde_json::Value| {
        let mut body = json!({"type": "sleep", "payload": {"ms": 1}});
        body[field] = value;
        body
    };
    for (body, code, pointer) in [
        (sleep("type", json!("nothing")), "unknown_job_type", "/type"),
        (sleep("queue", json!("nowhere")), "unknown_queue", "/queue"),
        (sleep("colour", json!("red")), "invalid_job", "/colour"),
        (sleep("payload", json!({"ms": "soon"})), "invalid_job", "/payload/ms"),
        (sleep("priority", json!("urgent")), "invalid_job", "/priority"),
        (sleep("deadline", json!("2001-01-01T00:00:00Z")), "invalid_job", "/deadline"),
        (sleep("max_attempts", json!(0)), "invalid_job", "/max_attempts"),
        (sleep("tags", json!([""])), "invalid_job", "/tags/0"),
        (sleep("tags", json!(["schedule:nightly"])), "invalid_job", "/tags/0"),
    ] {
        http.post("/jobs", &body).await.refused(422, code).at(pointer);
    }
    let form = http.call(Method::POST, "/jobs").header("Content-Type", "application/x-www-form-urlencoded");
    Answer::of(form.body("type=sleep")).await.refused(415, "unsupported_media_type");
    let foreign = http.call(Method::POST, "/jobs").header("Origin", "http://evil.example");
    Answer::of(foreign.json(&sleep("type", json!("sleep")))).await.refused(403, "cross_site_request");
}

pub(crate) async fn bodies_have_a_limit(http: Http) {
    let padded = |bytes: usize| {
        let body = r#"{"type":"sleep","payload":{"ms":1}}"#;
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    let _ = send(&http, "/jobs", padded(2 << 20)).await.expect(202);
    send(&http, "/jobs", padded((2 << 20) + 1)).await.refused(413, "payload_too_large");
    let batch = |bytes: usize| format!("{{\"jobs\":[]}}{}", " ".repeat(bytes - 11));
    let _ = send(&http, "/jobs/batch", batch(16 << 20)).await.expect(202);
    send(&http, "/jobs/batch", batch((16 << 20) + 1)).await.refused(413, "payload_too_large");
}

pub(crate) async fn unknown_addresses_and_wrong_methods_are_problems(http: Http) {
    for path in ["/", "/nowhere", "/api/v1", "/api/v1/job", "/api/v2/jobs", "/api/v1/jobs/"] {
        Answer::of(http.request(Method::GET, path)).await.refused(404, "not_found");
    }
    for (method, path, allowed) in [
        (Method::PUT, "/api/v1/jobs", "GET, HEAD, POST"),
        (Method::POST, "/api/v1/queues/default", "PUT"),
        (Method::PATCH, "/api/v1/stats", "GET, HEAD"),
    ] {
        let answer = Answer::of(http.request(method, path)).await.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}

pub(crate) async fn every_answer_carries_the_id_of_its_request(http: Http) {
    let ask = |id: &str| Answer::of(http.call(Method::GET, "/nowhere").header("X-Request-Id", id));
    assert_eq!(ask("my-id-7").await.refused(404, "not_found").json["request_id"], "my-id-7");
    assert!(ask("not sane").await.refused(404, "not_found").header("x-request-id").starts_with("req_"));
    let (one, two) = (http.get("/stats").await.expect(200), http.get("/stats").await.expect(200));
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert_eq!(one.header("x-content-type-options"), "nosniff");
}
