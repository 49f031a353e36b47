//! Dead letters, many at a time.

use gristmill_testkit::{Http, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::unique;

/// So many dead letters in a queue of their own. They succeed when they are run again.
async fn die(http: &Http, count: usize) -> String {
    let queue = unique("dead");
    let _ = http.send(Method::PUT, &format!("/queues/{queue}")).await.expect(200);
    let job =
        json!({"type": "fail", "payload": {"message": "no", "until_attempt": 2}, "max_attempts": 1, "queue": queue});
    let _ = http.post("/jobs/batch", &json!({"jobs": vec![job; count]})).await.expect(202);
    eventually("all are dead", || async { (dead(http, &queue).await.len() == count).then_some(()) }).await;
    queue
}

async fn dead(http: &Http, queue: &str) -> Vec<Value> {
    http.get(&format!("/dead-letters?queue={queue}&limit=500")).await.expect(200).items().to_vec()
}

pub(crate) async fn dead_letters_are_replayed_in_several_calls(http: Http) {
    let queue = die(&http, 30).await;
    let all = dead(&http, &queue).await;
    let other = json!({"queue": queue, "type": "sleep"});
    assert_eq!(http.post("/dead-letters/replay", &other).await.expect(200).json["replayed"], 0);
    let first = http.post("/dead-letters/replay", &json!({"queue": queue, "limit": 20})).await.expect(200).json;
    assert_eq!((&first["replayed"], &first["more"]), (&json!(20), &json!(true)), "{first}");
    let again = json!({"queue": queue, "failed_before": first["failed_before"]});
    let second = http.post("/dead-letters/replay", &again).await.expect(200).json;
    assert_eq!((&second["replayed"], &second["more"]), (&json!(10), &json!(false)), "{second}");
    for job in all {
        let job = http.ended(job["id"].as_str().expect("an id")).await;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(2)), "{job}");
    }
    assert!(dead(&http, &queue).await.is_empty());
}

pub(crate) async fn dead_letters_are_discarded(http: Http) {
    let queue = die(&http, 5).await;
    let all = dead(&http, &queue).await;
    let some = http.post("/dead-letters/discard", &json!({"queue": queue, "limit": 2})).await.expect(200).json;
    assert_eq!((&some["discarded"], &some["more"]), (&json!(2), &json!(true)), "{some}");
    let left = dead(&http, &queue).await;
    assert_eq!(left.len(), 3);
    // The oldest went first: the list has the latest first.
    for gone in &all[3..] {
        http.get(&format!("/jobs/{}", gone["id"].as_str().expect("an id"))).await.refused(404, "job_not_found");
    }
    let rest = http.post("/dead-letters/discard", &json!({"queue": queue})).await.expect(200).json;
    assert_eq!((&rest["discarded"], &rest["more"]), (&json!(3), &json!(false)), "{rest}");
}
