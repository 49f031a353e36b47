//! What the platform tells of itself.

use gristmill_testkit::{Answer, Http, eventually};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) async fn health_and_the_reference_are_served(http: Http) {
    let live = Answer::of(http.request(Method::GET, "/health/live")).await.expect(200);
    assert_eq!(live.json, json!({"status": "live"}));
    let ready = Answer::of(http.request(Method::GET, "/health/ready")).await.expect(200);
    assert_eq!((&ready.json["status"], &ready.json["checks"]["store"]["status"]), (&json!("ready"), &json!("ok")));
    let reference = Answer::of(http.request(Method::GET, "/openapi.json")).await.expect(200);
    for call in ["/api/v1/jobs", "/api/v1/jobs/{id}", "/api/v1/jobs/batch", "/api/v1/queues/{queue}"] {
        assert!(reference.json["paths"][call].is_object(), "{call}");
    }
    // Metrics are nobody's business who comes through the gateway.
    let metrics = Answer::of(http.request(Method::GET, "/metrics")).await;
    match metrics.status {
        200 => assert!(metrics.text.contains("gristmill_http_requests_total"), "{}", metrics.text),
        _ => drop(metrics.refused(404, "not_found")),
    }
}

pub(crate) async fn job_types_and_workers_are_told(http: Http) {
    let types = http.get("/job-types").await.expect(200);
    let named = |name: &str| types.items().iter().find(|item| item["name"] == name).cloned().unwrap_or_default();
    assert_eq!((&named("word_count")["class"], &named("word_count")["accepts_text"]), (&json!("cpu"), &json!(true)));
    assert!(named("sleep")["payload_schema"]["properties"]["ms"].is_object(), "{}", named("sleep"));
    let worker = eventually("a worker has said that it is there", || async {
        http.get("/workers").await.expect(200).items().first().cloned()
    })
    .await;
    assert!(worker["id"].as_str().is_some_and(|id| id.starts_with("wrk_")), "{worker}");
    assert!(worker["types"].as_array().is_some_and(|types| types.contains(&json!("fail"))), "{worker}");
    assert!(worker["slots"].as_u64().is_some_and(|slots| slots > 0), "{worker}");
}

pub(crate) async fn ended_jobs_are_counted(http: Http) {
    let succeeded = |stats: &Value| stats["counts"]["succeeded"].as_u64().expect("a count");
    let before = succeeded(&http.get("/stats").await.expect(200).json);
    for _ in 0..3 {
        http.ended(&http.submit(json!({"type": "sleep", "payload": {"ms": 1}})).await).await;
    }
    // Counts may be some moments old.
    let stats = eventually("they are counted", || async {
        let stats = http.get("/stats").await.expect(200).json;
        (succeeded(&stats) >= before + 3).then_some(stats)
    })
    .await;
    assert!(stats["finished_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{stats}");
    assert!(stats["running_ms"]["samples"].as_u64().is_some_and(|samples| samples >= 3), "{stats}");
}
