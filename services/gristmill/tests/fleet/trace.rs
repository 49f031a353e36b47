//! The trace of a request is followed over HTTP, the gateway, the dispatch and the worker.

use gristmill_testkit::{Answer, Kind, World, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{fleet, turn};

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_logs_the_trace_of_the_request() {
    let _turn = turn().await;
    let fleet = fleet().start(World::new().await.expect("a world")).await.expect("a fleet");
    let http = fleet.http();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let job = json!({"type": "fail", "payload": {"message": "on purpose"}, "max_attempts": 1});
    let request = http.call(Method::POST, "/jobs").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let id = Answer::of(request.json(&job)).await.expect(202).id();
    assert_eq!(http.ended(&id).await["state"], "failed");
    let line = eventually("a worker logs the failure", || async {
        let lines = fleet.processes(Kind::Worker).iter().flat_map(|worker| worker.log());
        lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok()).find(|line| line["job.id"] == json!(id))
    })
    .await;
    assert_eq!(line["trace.id"], trace, "{line}");
}
