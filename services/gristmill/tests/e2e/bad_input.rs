//! What makes no sense, field by field: each is refused with its pointer.

use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::unique;

fn sleep(field: &str, value: Value) -> Value {
    let mut job = json!({"type": "sleep", "payload": {"ms": 1}});
    job[field] = value;
    job
}

pub(crate) async fn times_and_waits_that_cannot_be_are_refused(http: Http) {
    for (field, value, pointer) in [
        ("run_at", json!("2020-01-01T00:00:00Z"), "/run_at"),
        ("run_at", json!("9999-12-31T23:59:59Z"), "/run_at"),
        ("run_at", json!("9998-01-01T00:00:00Z"), "/run_at"),
        ("run_at", json!("12026-01-01T00:00:00Z"), "/run_at"),
        ("delay_ms", json!(-1), "/delay_ms"),
        ("delay_ms", json!(1.5), "/delay_ms"),
        ("delay_ms", json!(1e30), "/delay_ms"),
        ("delay_ms", json!(u64::MAX), "/delay_ms"),
        ("backoff", json!({"kind": "exponential", "base_ms": 2_000, "cap_ms": 1_000}), "/backoff/cap_ms"),
        ("backoff", json!({"kind": "exponential", "factor": 1e9}), "/backoff/factor"),
        ("backoff", json!({"kind": "fixed", "delay_ms": u64::MAX}), "/backoff/delay_ms"),
        ("deadline", json!("2020-01-01T00:00:00Z"), "/deadline"),
    ] {
        http.post("/jobs", &sleep(field, value)).await.refused(422, "invalid_job").at(pointer);
    }
}

pub(crate) async fn gates_that_make_no_sense_are_refused(http: Http) {
    let long = "x".repeat(10_000);
    for key in [long.as_str(), "", "a\nb", "\u{0}", "\u{7f}"] {
        for (gate, more) in [
            ("unique", json!({})),
            ("debounce", json!({"wait_ms": 1, "max_wait_ms": 1})),
            ("concurrency", json!({"limit": 1})),
            ("rate_limit", json!({"limit": 1, "per_ms": 1})),
        ] {
            let mut value = more;
            value["key"] = json!(key);
            let refused = http.post("/jobs", &sleep(gate, value)).await.refused(422, "invalid_job");
            let refused = refused.at(&format!("/{gate}/key"));
            assert!(refused.text.len() < 2_000, "what was sent is not sent back: {} bytes", refused.text.len());
        }
    }
    let debounce = |wait: u64, longest: u64| json!({"key": "a", "wait_ms": wait, "max_wait_ms": longest});
    for (gate, value, pointer) in [
        ("unique", json!({"key": 7}), "/unique/key"),
        ("unique", json!({}), "/unique/key"),
        ("unique", json!("a"), "/unique"),
        ("unique", json!({"key": "a", "while": "forever"}), "/unique/while"),
        ("unique", json!({"key": "a", "while": {"for_ms": 0}}), "/unique/while/for_ms"),
        ("unique", json!({"key": "a", "while": {"for_ms": -1}}), "/unique/while/for_ms"),
        ("unique", json!({"key": "a", "while": {"for_ms": u64::MAX}}), "/unique/while/for_ms"),
        ("unique", json!({"key": "a", "on_conflict": "shrug"}), "/unique/on_conflict"),
        ("unique", json!({"key": "a", "ttl": 1}), "/unique/ttl"),
        ("debounce", debounce(0, 1), "/debounce/wait_ms"),
        ("debounce", debounce(2, 1), "/debounce/max_wait_ms"),
        ("debounce", debounce(1, u64::MAX), "/debounce/max_wait_ms"),
        ("concurrency", json!({"key": "a"}), "/concurrency/limit"),
        ("concurrency", json!({"key": "a", "limit": 0}), "/concurrency/limit"),
        ("concurrency", json!({"key": "a", "limit": 1_001}), "/concurrency/limit"),
        ("concurrency", json!({"key": "a", "limit": -1}), "/concurrency/limit"),
        ("rate_limit", json!({"key": "a", "limit": 0, "per_ms": 1}), "/rate_limit/limit"),
        ("rate_limit", json!({"key": "a", "limit": 1, "per_ms": 0}), "/rate_limit/per_ms"),
        ("rate_limit", json!({"key": "a", "limit": 1, "per_ms": u64::MAX}), "/rate_limit/per_ms"),
    ] {
        http.post("/jobs", &sleep(gate, value)).await.refused(422, "invalid_job").at(pointer);
    }
    let mut both = sleep("unique", json!({"key": "a"}));
    both["debounce"] = debounce(1, 1);
    http.post("/jobs", &both).await.refused(422, "invalid_job").at("/debounce");
    let mut timed = sleep("delay_ms", json!(5));
    timed["debounce"] = debounce(1, 1);
    http.post("/jobs", &timed).await.refused(422, "invalid_job").at("/delay_ms");
    let text = http.call(Method::POST, "/jobs?type=word_count&concurrency=%7B%22key%22%3A%22a%22%2C%22limit%22%3A0%7D");
    let text = text.header("Content-Type", "text/plain").body("a b");
    Answer::of(text).await.refused(422, "invalid_job").at("?concurrency/limit");
}

pub(crate) async fn schedules_that_make_no_sense_are_refused(http: Http) {
    let call = format!("/schedules/{}", unique("bad"));
    let put = |schedule: Value| Answer::of(http.call(Method::PUT, &call).json(&schedule));
    let schedule = |field: &str, value: Value| {
        let mut schedule = json!({"cron": "0 0 * * *", "job": {"type": "sleep", "payload": {"ms": 1}}});
        schedule[field] = value;
        schedule
    };
    for (field, value, pointer) in [
        ("cron", json!("0 0 30 2 *"), "/cron"),
        ("cron", json!("0 0 31 4 *"), "/cron"),
        ("cron", json!("soon"), "/cron"),
        ("cron", json!(""), "/cron"),
        ("cron", json!("* * * *"), "/cron"),
        ("cron", json!("* * * * * * 2026"), "/cron"),
        ("cron", json!("61 * * * *"), "/cron"),
        ("cron", json!("* ".repeat(10_000)), "/cron"),
        ("cron", json!(7), "/cron"),
        ("time_zone", json!("Mars/Olympus"), "/time_zone"),
        ("time_zone", json!(""), "/time_zone"),
        ("time_zone", json!("+02:00"), "/time_zone"),
        ("time_zone", json!("x".repeat(10_000)), "/time_zone"),
        ("missed", json!("all"), "/missed"),
        ("overlap", json!("queue"), "/overlap"),
        ("colour", json!("red"), "/colour"),
        ("job", json!({}), "/job/type"),
        ("job", json!([]), "/job"),
    ] {
        put(schedule(field, value)).await.refused(422, "invalid_schedule").at(pointer);
    }
    for (field, value, pointer) in [
        ("payload", json!({"ms": "soon"}), "/job/payload/ms"),
        ("max_attempts", json!(0), "/job/max_attempts"),
        ("timeout_ms", json!(0), "/job/timeout_ms"),
        ("backoff", json!({"kind": "exponential", "base_ms": 2_000, "cap_ms": 1_000}), "/job/backoff/cap_ms"),
        ("tags", json!([""]), "/job/tags/0"),
        ("tags", json!(["a", "schedule:other"]), "/job/tags/1"),
        ("concurrency", json!({"key": "x".repeat(10_000), "limit": 1}), "/job/concurrency/key"),
        ("concurrency", json!({"key": "a", "limit": 0}), "/job/concurrency/limit"),
        ("rate_limit", json!({"key": "a", "limit": 1, "per_ms": 0}), "/job/rate_limit/per_ms"),
        ("unique", json!({"key": "a"}), "/job/unique"),
        ("debounce", json!({"key": "a", "wait_ms": 1, "max_wait_ms": 1}), "/job/debounce"),
        ("run_at", json!("2027-01-01T00:00:00Z"), "/job/run_at"),
        ("delay_ms", json!(1), "/job/delay_ms"),
        ("deadline", json!("2027-01-01T00:00:00Z"), "/job/deadline"),
    ] {
        put(schedule("job", sleep(field, value))).await.refused(422, "invalid_schedule").at(pointer);
    }
    let large = json!({"type": "word_count", "payload": {"text": "x".repeat(70_000)}});
    put(schedule("job", large)).await.refused(422, "invalid_schedule").at("/job/payload");
    put(schedule("job", json!({"type": "nothing"}))).await.refused(422, "unknown_job_type").at("/job/type");
    put(schedule("job", sleep("queue", json!("nowhere")))).await.refused(422, "unknown_queue").at("/job/queue");
    let two = json!({"cron": "0 0 30 2 *", "time_zone": "Mars", "job": sleep("max_attempts", json!(0))});
    put(two).await.refused(422, "invalid_schedule").at("/cron").at("/time_zone").at("/job/max_attempts");
    http.get(&call).await.refused(404, "schedule_not_found");
    for name in ["No%20name", "Upper", "-dash", &"x".repeat(65)] {
        let request = http.call(Method::PUT, &format!("/schedules/{name}"));
        let request = request.json(&schedule("missed", json!("skip")));
        Answer::of(request).await.refused(422, "invalid_schedule_name");
    }
}

pub(crate) async fn replays_and_rates_that_make_no_sense_are_refused(http: Http) {
    for call in ["/dead-letters/replay", "/dead-letters/discard"] {
        for (body, pointer) in [
            (json!({"type": 7}), "/type"),
            (json!({"type": "No such!"}), "/type"),
            (json!({"queue": ["a"]}), "/queue"),
            (json!({"failed_after": "yesterday"}), "/failed_after"),
            (json!({"failed_before": 7}), "/failed_before"),
            (json!({"limit": 0}), "/limit"),
            (json!({"limit": 10_001}), "/limit"),
            (json!({"limit": -1}), "/limit"),
            (json!({"limit": 1.5}), "/limit"),
            (json!({"limit": "all"}), "/limit"),
            (json!({"state": "failed"}), "/state"),
            (json!([]), ""),
        ] {
            http.post(call, &body).await.refused(422, "invalid_replay").at(pointer);
        }
        http.send(Method::POST, call).await.refused(400, "malformed_json");
        http.post(&format!("{call}?limit=1"), &json!({})).await.refused(422, "invalid_query").at("?limit");
    }
    let fine = http.submit(sleep("priority", json!("normal"))).await;
    http.ended(&fine).await;
    http.send(Method::POST, &format!("/jobs/{fine}/retry")).await.refused(409, "job_not_retryable").at("/state");

    let queue = unique("queue");
    let put = |body: Value| Answer::of(http.call(Method::PUT, &format!("/queues/{queue}")).json(&body));
    for (body, pointer) in [
        (json!({"rate_limit": {"limit": 0, "per_ms": 1}}), "/rate_limit/limit"),
        (json!({"rate_limit": {"limit": 1, "per_ms": 0}}), "/rate_limit/per_ms"),
        (json!({"rate_limit": {"limit": 1}}), "/rate_limit/per_ms"),
        (json!({"rate_limit": 7}), "/rate_limit"),
        (json!({"paused": true}), "/paused"),
    ] {
        put(body).await.refused(422, "invalid_queue").at(pointer);
    }
    let queues = http.get("/queues").await.expect(200);
    assert!(queues.items().iter().all(|item| item["name"] != queue), "nothing was declared: {}", queues.text);
}
