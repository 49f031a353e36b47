//! Queues: declared, used, paused, resumed.

use std::time::{Duration, Instant};

use gristmill_testkit::{Answer, Http, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stand::unique;

/// After so long every worker knows that a queue is paused.
pub(crate) const PAUSED_WITHIN: Duration = Duration::from_secs(2);
/// How long a thing is watched that must not happen.
const WATCHED: Duration = Duration::from_millis(800);

/// Waits until so many jobs are counted as waiting: counts may be some moments old.
async fn counted(http: &Http, name: &str, depth: u64) -> Value {
    eventually("they are counted", || async {
        let queues = http.get("/queues").await.expect(200);
        queues.items().iter().find(|queue| queue["name"] == name && queue["depth"] == depth).cloned()
    })
    .await
}

fn sleep_in(queue: &str) -> Value {
    json!({"type": "sleep", "payload": {"ms": 0}, "queue": queue})
}

pub(crate) async fn a_queue_can_be_used_at_once_through_every_replica(http: Http) {
    for _ in 0..3 {
        let name = unique("queue");
        let declared = http.send(Method::PUT, &format!("/queues/{name}")).await.expect(200).json;
        let fresh = json!({"name": name, "paused": false, "rate_limit": null, "scheduled": 0, "depth": 0, "running": 0,
            "oldest_waiting_since": null});
        assert_eq!(declared, fresh);
        // The replica that has not declared it gets half of these.
        let mut running = JoinSet::new();
        for _ in 0..4 {
            let (http, id) = (http.clone(), http.submit(sleep_in(&name)).await);
            running.spawn(async move { http.ended(&id).await });
        }
        let began = Instant::now();
        for job in running.join_all().await {
            assert_eq!((&job["state"], &job["queue"]), (&json!("succeeded"), &json!(name)), "{job}");
        }
        assert!(began.elapsed() < Duration::from_secs(10), "workers serve it soon: {:?}", began.elapsed());
    }
    http.send(Method::PUT, "/queues/Not%20a%20name").await.refused(422, "invalid_queue_name");
    http.send(Method::POST, "/queues/nowhere/pause").await.refused(404, "queue_not_found");
}

pub(crate) async fn a_paused_queue_starts_nothing_until_it_is_resumed(http: Http) {
    let name = unique("queue");
    let _ = http.send(Method::PUT, &format!("/queues/{name}")).await.expect(200);
    http.ended(&http.submit(sleep_in(&name)).await).await;
    let paused = http.send(Method::POST, &format!("/queues/{name}/pause")).await.expect(200).json;
    assert_eq!(paused["paused"], true);
    // Declaring it again changes nothing.
    assert_eq!(http.send(Method::PUT, &format!("/queues/{name}")).await.expect(200).json["paused"], true);
    tokio::time::sleep(PAUSED_WITHIN).await;

    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(http.submit(sleep_in(&name)).await);
    }
    tokio::time::sleep(WATCHED).await;
    for id in &waiting {
        assert_eq!(http.job(id).await["state"], "queued");
    }
    let full = counted(&http, &name, 4).await;
    assert_eq!((&full["running"], &full["paused"]), (&json!(0), &json!(true)), "{full}");
    assert!(full["oldest_waiting_since"].is_string(), "{full}");

    let resumed = http.send(Method::POST, &format!("/queues/{name}/resume")).await.expect(200).json;
    assert_eq!(resumed["paused"], false);
    let began = Instant::now();
    for id in &waiting {
        assert_eq!(http.ended(id).await["state"], "succeeded");
    }
    assert!(began.elapsed() < PAUSED_WITHIN + Duration::from_secs(3), "it goes on soon: {:?}", began.elapsed());
    counted(&http, &name, 0).await;
}

pub(crate) async fn a_queue_has_a_rate_until_it_is_lifted(http: Http) {
    let name = unique("queue");
    let call = format!("/queues/{name}");
    let put = |body: Value| Answer::of(http.call(Method::PUT, &call).json(&body));
    let rate = json!({"limit": 1_000, "per_ms": 1_000});
    assert_eq!(put(json!({"rate_limit": rate})).await.expect(200).json["rate_limit"], rate);
    // What is not said stays as it is.
    assert_eq!(put(json!({})).await.expect(200).json["rate_limit"], rate);
    assert_eq!(http.send(Method::PUT, &call).await.expect(200).json["rate_limit"], rate);
    let _ = http.send(Method::POST, &format!("{call}/pause")).await.expect(200);
    let other = json!({"limit": 7, "per_ms": 100});
    let changed = put(json!({"rate_limit": other})).await.expect(200).json;
    assert_eq!((&changed["rate_limit"], &changed["paused"]), (&other, &json!(true)));
    let resumed = http.send(Method::POST, &format!("{call}/resume")).await.expect(200).json;
    assert_eq!((&resumed["rate_limit"], &resumed["paused"]), (&other, &json!(false)));
    let id = http.submit(sleep_in(&name)).await;
    assert_eq!(http.ended(&id).await["state"], "succeeded");
    let mut later = sleep_in(&name);
    later["delay_ms"] = json!(3_600_000);
    http.submit(later).await;
    eventually("it is counted", || async {
        let queues = http.get("/queues").await.expect(200);
        queues.items().iter().find(|queue| queue["name"] == name && queue["scheduled"] == 1).map(drop)
    })
    .await;
    assert_eq!(put(json!({"rate_limit": null})).await.expect(200).json["rate_limit"], Value::Null);
}

pub(crate) async fn priorities_are_told(http: Http) {
    let tag = unique("tag");
    for priority in ["high", "normal", "low"] {
        let job = json!({"type": "sleep", "payload": {"ms": 0}, "priority": priority, "tags": [tag]});
        let job = http.ended(&http.submit(job).await).await;
        assert_eq!((&job["state"], &job["priority"]), (&json!("succeeded"), &json!(priority)), "{job}");
        let found = http.get(&format!("/jobs?tag={tag}&priority={priority}")).await.expect(200);
        assert_eq!((found.items().len(), &found.items()[0]["id"]), (1, &job["id"]));
    }
}
