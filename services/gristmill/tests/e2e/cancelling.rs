//! Jobs that somebody no longer wants, wherever they are.

use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::json;

use crate::stand::unique;

async fn cancel(http: &Http, id: &str) -> Answer {
    http.send(Method::POST, &format!("/jobs/{id}/cancel")).await
}

pub(crate) async fn a_job_that_waits_for_its_time_is_cancelled(http: Http) {
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 3_600_000})).await;
    assert_eq!(cancel(&http, &id).await.expect(202).json["state"], "cancelled");
    cancel(&http, &id).await.refused(409, "job_already_finished");
    http.get(&format!("/jobs/{id}/result")).await.refused(409, "job_has_no_result");
    assert_eq!(http.history(&id).await, ["created", "cancelled"]);
}

pub(crate) async fn a_queued_job_is_cancelled_and_runs_when_it_is_retried(http: Http) {
    let queue = unique("queue");
    let _ = http.send(Method::PUT, &format!("/queues/{queue}")).await.expect(200);
    let _ = http.send(Method::POST, &format!("/queues/{queue}/pause")).await.expect(200);
    // Nothing has come to the queue before it was paused, but a worker may hear of the pause a little later.
    tokio::time::sleep(crate::queues::PAUSED_WITHIN).await;
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 0}, "queue": queue})).await;
    assert_eq!(http.job(&id).await["state"], "queued");
    assert_eq!(cancel(&http, &id).await.expect(202).json["state"], "cancelled");
    let again = http.send(Method::POST, &format!("/jobs/{id}/retry")).await.expect(202);
    assert_eq!(again.json["state"], "queued");
    let _ = http.send(Method::POST, &format!("/queues/{queue}/resume")).await.expect(200);
    assert_eq!(http.ended(&id).await["state"], "succeeded");
}

pub(crate) async fn a_running_job_is_asked_to_stop(http: Http) {
    let id = http.submit(json!({"type": "sleep", "payload": {"ms": 60_000}})).await;
    http.reached(&id, "running").await;
    let asked = cancel(&http, &id).await.expect(202);
    assert_eq!((&asked.json["state"], &asked.json["cancel_requested"]), (&json!("running"), &json!(true)));
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("cancelled"), &json!(1)), "{job}");
}
