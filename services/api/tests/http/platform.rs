//! Job types, queues, workers, stats, health, metrics.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Stack, spawn, spawn_idle};

async fn item(stack: &Stack, path: &str, name: &str) -> Value {
    let list = stack.get(path).await.expect(200).json;
    let items = list["items"].as_array().expect("items");
    items.iter().find(|item| item["name"] == name).cloned().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn job_types_come_with_their_schemas() {
    let stack = spawn_idle().await;
    let words = item(&stack, "/api/v1/job-types", "word_count").await;
    assert_eq!((&words["class"], &words["accepts_text"]), (&json!("cpu"), &json!(true)));
    assert!(words["payload_schema"]["properties"]["text"].is_object(), "{words}");
    assert!(words["result_schema"]["properties"]["words"].is_object(), "{words}");
    assert!(words["defaults"]["max_attempts"].is_u64() && words["defaults"]["backoff"]["kind"].is_string());
    let sleep = item(&stack, "/api/v1/job-types", "sleep").await;
    assert_eq!((&sleep["class"], &sleep["accepts_text"]), (&json!("io"), &json!(false)));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_declared_paused_and_resumed() {
    let stack = spawn().await;
    assert_eq!(item(&stack, "/api/v1/queues", "default").await["paused"], false);
    let declared = stack.send(Method::PUT, "/api/v1/queues/mail").await.expect(200).json;
    assert_eq!(
        declared,
        json!({"name": "mail", "paused": false, "rate_limit": null, "scheduled": 0, "depth": 0, "running": 0,
            "oldest_waiting_since": null})
    );
    assert_eq!(stack.send(Method::POST, "/api/v1/queues/mail/pause").await.expect(200).json["paused"], true);
    // Declaring it again changes nothing.
    assert_eq!(stack.send(Method::PUT, "/api/v1/queues/mail").await.expect(200).json["paused"], true);
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}, "queue": "mail"})).await;
    let waiting = item(&stack, "/api/v1/queues", "mail").await;
    assert_eq!((&waiting["depth"], waiting["oldest_waiting_since"].is_string()), (&json!(1), true), "{waiting}");
    assert_eq!(stack.send(Method::POST, "/api/v1/queues/mail/resume").await.expect(200).json["paused"], false);
    assert_eq!(stack.ended(&id).await["state"], "succeeded");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_have_names() {
    let stack = spawn_idle().await;
    for name in ["Mail", "a%20b", "_x", "%C3%A9", &"x".repeat(65)] {
        stack.send(Method::PUT, &format!("/api/v1/queues/{name}")).await.refused(422, "invalid_queue_name");
        stack.send(Method::POST, &format!("/api/v1/queues/{name}/pause")).await.refused(404, "queue_not_found");
    }
    stack.send(Method::POST, "/api/v1/queues/nowhere/pause").await.refused(404, "queue_not_found");
    stack.send(Method::POST, "/api/v1/queues/nowhere/resume").await.refused(404, "queue_not_found");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_counts_are_told() {
    let stack = spawn().await;
    let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    stack.ended(&id).await;
    let until = Instant::now() + PATIENCE;
    let worker = loop {
        let workers = stack.get("/api/v1/workers").await.expect(200).json;
        if let Some(worker) = workers["items"].get(0) {
            break worker.clone();
        }
        assert!(Instant::now() < until, "no worker has said that it is there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(worker["slots"], 8);
    assert!(worker["id"].as_str().is_some_and(|id| id.starts_with("wrk_")));
    assert!(worker["types"].as_array().is_some_and(|types| types.contains(&json!("sleep"))), "{worker}");
    let stats = stack.get("/api/v1/stats").await.expect(200).json;
    assert_eq!((&stats["counts"]["succeeded"], &stats["counts"]["failed"]), (&json!(1), &json!(0)));
    assert_eq!(stats["running_ms"]["samples"], 1);
    assert!(stats["finished_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{stats}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_at_the_root() {
    let stack = spawn_idle().await;
    assert_eq!(stack.get("/health/live").await.expect(200).json, json!({"status": "live"}));
    let ready = stack.get("/health/ready").await.expect(200).json;
    assert_eq!(ready, json!({"status": "ready", "checks": {"store": {"status": "ok"}}}));
    stack.get("/api/v1/jobs/job_x").await.refused(404, "job_not_found");
    let metrics = stack.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let has = |name: &str, labels: [&str; 2]| {
        let mut lines = metrics.text.lines().filter(|line| line.starts_with(name));
        lines.any(|line| labels.iter().all(|label| line.contains(label)))
    };
    let route = r#"route="/api/v1/jobs/{id}""#;
    assert!(has("gristmill_http_requests_total{", [route, r#"status="404""#]), "{}", metrics.text);
    assert!(has("gristmill_http_request_seconds_bucket{", [route, r#"method="GET""#]), "{}", metrics.text);
    stack.stop().await;
}
