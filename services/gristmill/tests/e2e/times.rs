//! Jobs that wait for their time, and those whose time is up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gristmill_common::Timestamp;
use gristmill_testkit::Http;
use serde_json::{Value, json};

/// A time so long from now, as it is written in JSON.
fn from_now(time: Duration) -> Value {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + time;
    json!(Timestamp::from_millis(i64::try_from(at.as_millis()).expect("in our days")))
}

fn text<'a>(job: &'a Value, field: &str) -> &'a str {
    job[field].as_str().unwrap_or_else(|| panic!("no {field}: {job}"))
}

pub(crate) async fn a_job_waits_for_its_time(http: Http) {
    let (delayed, timed) = (("delay_ms", json!(700)), ("run_at", from_now(Duration::from_millis(900))));
    let mut waiting = Vec::new();
    for (field, time) in [delayed, timed] {
        let mut job = json!({"type": "sleep", "payload": {"ms": 0}});
        job[field] = time;
        let accepted = http.post("/jobs", &job).await.expect(202);
        assert_eq!(accepted.json["state"], "scheduled");
        waiting.push(accepted.id());
    }
    for id in waiting {
        let job = http.ended(&id).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(1)), "{job}");
        // Times of one form compare as text.
        assert!(text(&job, "started_at") >= text(&job, "run_at"), "{job}");
    }
}

pub(crate) async fn a_job_that_comes_too_late_fails(http: Http) {
    let deadline = from_now(Duration::from_millis(500));
    let late = json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 60_000, "deadline": deadline});
    let id = http.submit(late).await;
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("deadline_exceeded")), "{job}");
    assert_eq!((&job["attempt"], &job["deadline"]), (&json!(0), &deadline));
}

pub(crate) async fn an_attempt_that_takes_too_long_fails(http: Http) {
    let slow = json!({"type": "sleep", "payload": {"ms": 60_000}, "timeout_ms": 100, "max_attempts": 2,
        "backoff": {"kind": "none"}});
    let job = http.ended(&http.submit(slow).await).await;
    assert_eq!((&job["state"], &job["error"]["code"]), (&json!("failed"), &json!("timeout")), "{job}");
    assert_eq!((&job["attempt"], &job["error"]["attempt"]), (&json!(2), &json!(2)));
}
