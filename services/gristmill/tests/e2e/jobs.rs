//! One job: submitted, looked at, waited for, deleted.

use std::time::{Duration, Instant};

use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub(crate) async fn a_job_is_accepted_run_and_its_result_fetched(http: Http) {
    let job = json!({"type": "word_count", "payload": {"text": "a b a"}, "tags": ["x", "y z"], "max_attempts": 7});
    let accepted = http.post("/jobs", &job).await.expect(202);
    let id = accepted.id();
    assert!(id.starts_with("job_") && id.len() == 30, "{id}");
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{id}"));
    for (field, value) in [
        ("type", json!("word_count")),
        ("queue", json!("default")),
        ("priority", json!("normal")),
        ("attempt", json!(0)),
        ("max_attempts", json!(7)),
        ("tags", json!(["x", "y z"])),
        ("result", Value::Null),
        ("error", Value::Null),
        ("cancel_requested", json!(false)),
    ] {
        assert_eq!(accepted.json[field], value, "{field}");
    }
    assert!(accepted.json.get("payload").is_none());

    // What one replica has accepted, the other knows at once.
    for _ in 0..4 {
        assert_eq!(http.job(&id).await["id"], json!(id));
    }
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["result"]["words"]), (&json!("succeeded"), &json!(3)), "{job}");
    assert_eq!((&job["attempt"], &job["progress"]["percent"]), (&json!(1), &json!(100)));
    for time in ["created_at", "started_at", "finished_at"] {
        assert!(job[time].as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{time}: {job}");
    }
    let result = http.get(&format!("/jobs/{id}/result")).await.expect(200);
    assert_eq!((result.header("content-type"), &result.json), ("application/json", &job["result"]));
    assert_eq!(http.history(&id).await, ["created", "claimed", "succeeded"]);
    assert!(http.get(&format!("/jobs/{id}/logs")).await.expect(200).items().is_empty());
}

pub(crate) async fn a_job_that_has_not_changed_is_not_sent_again(http: Http) {
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 3_600_000})).await;
    let call = format!("/jobs/{id}");
    let first = http.get(&call).await.expect(200);
    let etag = first.header("etag").to_owned();
    assert!(etag.contains('"') && !first.header("retry-after").is_empty(), "{:?}", first.headers);
    let ask = |etag: &str| Answer::of(http.call(Method::GET, &call).header("If-None-Match", etag));
    for _ in 0..4 {
        let unchanged = ask(&etag).await.expect(304);
        assert_eq!((unchanged.text.as_str(), unchanged.header("etag")), ("", etag.as_str()));
    }
    let _ = http.send(Method::POST, &format!("{call}/cancel")).await.expect(202);
    for _ in 0..4 {
        let changed = ask(&etag).await.expect(200);
        assert_ne!(changed.header("etag"), etag);
        assert_eq!((changed.header("retry-after"), &changed.json["state"]), ("", &json!("cancelled")));
    }
}

pub(crate) async fn whoever_waits_is_answered_at_the_end(http: Http) {
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 700}})).await;
    let began = Instant::now();
    let wait = |prefer: &str| Answer::of(http.call(Method::GET, &format!("/jobs/{id}")).header("Prefer", prefer));
    // Too short a wait answers with the job as it is.
    assert_ne!(wait("wait=0").await.expect(200).json["state"], "succeeded");
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        waiting.spawn(wait("wait=30"));
    }
    for answer in waiting.join_all().await {
        let answer = answer.expect(200);
        assert_eq!(
            (answer.json["state"].as_str(), answer.header("preference-applied")),
            (Some("succeeded"), "wait=30")
        );
    }
    assert!(began.elapsed() < Duration::from_secs(10), "the end was told at once: {:?}", began.elapsed());
}

pub(crate) async fn a_payload_comes_back_as_it_was_sent(http: Http) {
    let payload = r#"{"text" : "é \u00e9 1.50", "top":1}"#;
    let body = format!(r#"{{"type":"word_count","payload":{payload}}}"#);
    let submit = http.call(Method::POST, "/jobs").header("Content-Type", "application/json").body(body);
    let id = Answer::of(submit).await.expect(202).id();
    let whole = http.get(&format!("/jobs/{id}?include=payload")).await.expect(200);
    assert!(whole.text.contains(payload), "{}", whole.text);
}

pub(crate) async fn a_job_that_has_ended_is_deleted(http: Http) {
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 3_600_000})).await;
    let call = format!("/jobs/{id}");
    http.send(Method::DELETE, &call).await.refused(409, "job_not_finished");
    let _ = http.send(Method::POST, &format!("{call}/cancel")).await.expect(202);
    assert_eq!(http.send(Method::DELETE, &call).await.expect(204).text, "");
    for what in ["", "/result", "/history", "/logs"] {
        for _ in 0..2 {
            http.get(&format!("{call}{what}")).await.refused(404, "job_not_found");
        }
    }
    http.send(Method::DELETE, &call).await.refused(404, "job_not_found");
}
