//! Gates: unique, debounced and limited keys.

use std::collections::BTreeSet;

use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stand::unique;

fn sleep(gates: Value) -> Value {
    let mut job = json!({"type": "sleep", "payload": {"ms": 0}});
    job.as_object_mut().expect("an object").extend(gates.as_object().expect("an object").clone());
    job
}

/// A job that holds its key, and does not start.
fn holds(key: &str) -> Value {
    sleep(json!({"delay_ms": 3_600_000, "unique": {"key": key}}))
}

pub(crate) async fn of_many_at_once_one_gets_a_unique_key(http: Http) {
    let key = unique("key");
    let mut sending = JoinSet::new();
    for _ in 0..32 {
        let (http, job) = (http.clone(), holds(&key));
        sending.spawn(async move { http.post("/jobs", &job).await });
    }
    let (mut accepted, mut named) = (Vec::new(), BTreeSet::new());
    for answer in sending.join_all().await {
        if answer.status == 202 {
            accepted.push(answer.id());
        } else {
            let answer = answer.refused(409, "unique_conflict").at("/unique/key");
            named.insert(answer.header("location").to_owned());
        }
    }
    let [id] = &accepted[..] else { panic!("one is accepted: {accepted:?}") };
    assert_eq!(named, BTreeSet::from([format!("/api/v1/jobs/{id}")]));

    let existing = sleep(json!({"unique": {"key": key, "on_conflict": "return_existing"}}));
    let answer = http.post("/jobs", &existing).await.expect(202);
    assert_eq!((answer.id(), answer.json["state"].clone()), (id.clone(), json!("scheduled")));
    assert_eq!(answer.json["unique"], json!({"key": key, "while": "active", "on_conflict": "reject"}));

    let _ = http.send(Method::POST, &format!("/jobs/{id}/cancel")).await.expect(202);
    let next = http.submit(sleep(json!({"unique": {"key": key}}))).await;
    assert_eq!(http.ended(&next).await["state"], "succeeded");
    // A retry by hand asks for nothing.
    let _ = http.post("/jobs", &holds(&key)).await.expect(202);
    let _ = http.send(Method::POST, &format!("/jobs/{id}/retry")).await.expect(202);
}

pub(crate) async fn a_key_can_be_held_for_a_time_and_until_a_job_starts(http: Http) {
    let (timed, queued) = (unique("key"), unique("key"));
    let for_an_hour = sleep(json!({"unique": {"key": timed, "while": {"for_ms": 3_600_000}}}));
    let id = http.submit(for_an_hour.clone()).await;
    http.ended(&id).await;
    http.post("/jobs", &for_an_hour).await.refused(409, "unique_conflict");
    let _ = http.send(Method::DELETE, &format!("/jobs/{id}")).await.expect(204);
    let _ = http.post("/jobs", &for_an_hour).await.expect(202);

    let while_queued = |ms: u64| {
        let unique = json!({"key": queued, "while": "queued"});
        json!({"type": "sleep", "payload": {"ms": ms}, "unique": unique})
    };
    let slow = http.submit(while_queued(60_000)).await;
    http.reached(&slow, "running").await;
    assert_eq!(http.ended(&http.submit(while_queued(0)).await).await["state"], "succeeded");
    let _ = http.send(Method::POST, &format!("/jobs/{slow}/cancel")).await.expect(202);
}

pub(crate) async fn keys_count_in_batches_and_for_texts(http: Http) {
    let key = unique("key");
    let jobs = json!({"jobs": [holds(&key), holds(&key), sleep(json!({}))]});
    let batch = http.post("/jobs/batch", &jobs).await.expect(202);
    let items = batch.items();
    assert_eq!(items.iter().map(|item| item["status"].as_u64()).collect::<Vec<_>>(), [Some(202), Some(409), Some(202)]);
    assert_eq!(items[1]["problem"]["code"], "unique_conflict");
    // An item has no `Location`.
    let holder = items[0]["job"]["id"].as_str().expect("an id");
    assert_eq!(items[1]["problem"]["errors"][0]["detail"], format!("is held by {holder}"));
    let text = |name: &str| {
        let call = format!("/jobs?type=word_count&unique=%7B%22key%22%3A%22{name}%22%7D");
        let request = http.call(Method::POST, &call).header("Content-Type", "text/plain");
        Answer::of(request.body("to be or not to be"))
    };
    text(&key).await.refused(409, "unique_conflict");
    let fresh = text(&unique("key")).await.expect(202).id();
    assert_eq!(http.ended(&fresh).await["result"]["words"], 6);
}

pub(crate) async fn a_debounced_job_runs_once_with_the_last_payload(http: Http) {
    let key = unique("key");
    // Long enough for all four to come in time, and no longer than that in all.
    let send = |text: String| {
        let debounce = json!({"key": key, "wait_ms": 6_000, "max_wait_ms": 6_000});
        json!({"type": "word_count", "payload": {"text": text}, "debounce": debounce})
    };
    let id = http.submit(send("one".into())).await;
    for words in 2..=4 {
        assert_eq!(http.submit(send("x ".repeat(words))).await, id);
    }
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["result"]["words"]), (&json!("succeeded"), &json!(4)), "{job}");
    assert_eq!(http.get(&format!("/jobs/{id}?include=payload")).await.json["payload"]["text"], "x x x x ");
    assert_ne!(http.submit(send("again".into())).await, id);
}

pub(crate) async fn a_limited_job_says_how_and_runs(http: Http) {
    let key = unique("key");
    let concurrency = json!({"key": key, "limit": 2});
    let rate_limit = json!({"key": key, "limit": 100, "per_ms": 1_000});
    let id = http.submit(sleep(json!({"concurrency": concurrency, "rate_limit": rate_limit}))).await;
    let job = http.ended(&id).await;
    assert_eq!((&job["concurrency"], &job["rate_limit"]), (&concurrency, &rate_limit), "{job}");
    assert_eq!(job["state"], "succeeded");
    let plain = http.job(&http.submit(sleep(json!({}))).await).await;
    assert!(plain.get("concurrency").is_none(), "{plain}");
}
