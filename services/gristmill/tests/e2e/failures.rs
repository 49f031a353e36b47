//! Jobs that fail: tried again by themselves, and by hand.

use std::time::Duration;

use gristmill_common::Timestamp;
use gristmill_testkit::Http;
use reqwest::Method;
use serde_json::json;

use crate::stand::unique;

pub(crate) async fn a_job_is_tried_again_until_it_succeeds(http: Http) {
    let job = json!({"type": "fail", "payload": {"message": "not yet", "until_attempt": 3}, "max_attempts": 5,
        "backoff": {"kind": "fixed", "delay_ms": 50}});
    let id = http.submit(job).await;
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(3)), "{job}");
    assert_eq!(job["result"], json!({"attempt": 3}));
    let history = http.history(&id).await;
    assert_eq!(history.iter().filter(|what| *what == "claimed").count(), 3, "{history:?}");
    assert_eq!(history.last().map(String::as_str), Some("succeeded"));
}

pub(crate) async fn a_fatal_error_makes_no_other_attempt(http: Http) {
    let job = json!({"type": "fail", "payload": {"message": "never", "retryable": false}, "max_attempts": 5});
    let job = http.ended(&http.submit(job).await).await;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("failed"), &json!(1)), "{job}");
}

pub(crate) async fn an_attempt_waits_at_least_as_long_as_the_error_says(http: Http) {
    let payload = json!({"message": "not yet", "until_attempt": 2, "min_delay_ms": 700});
    let job = json!({"type": "fail", "payload": payload, "backoff": {"kind": "none"}});
    let id = http.submit(job).await;
    assert_eq!(http.ended(&id).await["state"], "succeeded");
    let history = http.get(&format!("/jobs/{id}/history")).await.expect(200);
    let entry = |what: &str, attempt: u64| {
        let found = history.items().iter().find(|entry| entry["what"] == what && entry["attempt"] == attempt);
        let at = found.and_then(|entry| entry["at"].as_str()?.parse::<Timestamp>().ok());
        at.unwrap_or_else(|| panic!("no {what} in attempt {attempt}: {}", history.text))
    };
    let waited = entry("claimed", 2).since(entry("retry_scheduled", 1));
    assert!(waited >= Duration::from_millis(700), "{waited:?}");
    entry("claimed", 1);
    entry("succeeded", 2);
}

pub(crate) async fn a_dead_letter_runs_again_by_hand(http: Http) {
    let tag = unique("tag");
    let job = json!({"type": "fail", "payload": {"message": "no", "until_attempt": 3}, "max_attempts": 2,
        "backoff": {"kind": "none"}, "tags": [tag]});
    let id = http.submit(job).await;
    let failed = http.ended(&id).await;
    assert_eq!(failed["error"], json!({"code": "failed_on_purpose", "message": "no", "attempt": 2}));
    http.get(&format!("/jobs/{id}/result")).await.refused(409, "job_has_no_result");
    let dead = http.get(&format!("/dead-letters?tag={tag}&type=fail")).await.expect(200);
    assert_eq!((dead.items().len(), &dead.items()[0]["id"]), (1, &json!(id)));

    let again = http.send(Method::POST, &format!("/jobs/{id}/retry")).await.expect(202);
    assert_eq!(again.id(), id);
    assert_eq!(http.ended(&id).await["result"], json!({"attempt": 3}));
    assert!(http.get(&format!("/dead-letters?tag={tag}")).await.expect(200).items().is_empty());
    http.send(Method::POST, &format!("/jobs/{id}/retry")).await.refused(409, "job_not_retryable");
}
