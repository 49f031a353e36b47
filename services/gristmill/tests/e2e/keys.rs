//! Idempotency keys: the same request is the same job, whoever takes it.

use std::collections::BTreeSet;

use gristmill_testkit::{Answer, Http};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::stand::unique;

fn keyed(http: &Http, call: &str, key: &str, body: &Value) -> RequestBuilder {
    http.call(Method::POST, call).header("Idempotency-Key", key).json(body)
}

pub(crate) async fn a_key_makes_the_same_request_the_same_job(http: Http) {
    let (key, other) = (unique("key"), unique("key"));
    let send =
        |key: &str, ms: u64| Answer::of(keyed(&http, "/jobs", key, &json!({"type": "sleep", "payload": {"ms": ms}})));
    let id = send(&key, 1).await.expect(202).id();
    for _ in 0..4 {
        assert_eq!(send(&key, 1).await.expect(202).id(), id);
        assert_eq!(send(&format!("\"{key}\""), 1).await.expect(202).id(), id);
        send(&key, 2).await.refused(422, "idempotency_key_reused");
    }
    assert_ne!(send(&other, 1).await.expect(202).id(), id);
    http.ended(&id).await;
    // The answer is the job as it is now.
    assert_eq!(send(&key, 1).await.expect(202).json["state"], "succeeded");
    send("a b", 1).await.refused(422, "invalid_idempotency_key");
}

pub(crate) async fn many_at_once_with_one_key_make_one_job(http: Http) {
    let (key, tag) = (unique("key"), unique("tag"));
    let body = json!({"type": "sleep", "payload": {"ms": 0}, "tags": [tag]});
    let mut sending = JoinSet::new();
    for _ in 0..32 {
        sending.spawn(Answer::of(keyed(&http, "/jobs", &key, &body)));
    }
    let answers = sending.join_all().await;
    let ids: BTreeSet<String> = answers.into_iter().map(|answer| answer.expect(202).id()).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(http.get(&format!("/jobs?tag={tag}")).await.expect(200).items().len(), 1);
}

pub(crate) async fn a_key_names_each_item_of_a_batch_by_its_place(http: Http) {
    let key = unique("key");
    let send = |first: Value| {
        let jobs = json!({"jobs": [first, {"type": "sleep", "payload": {"ms": 2}}]});
        let request = keyed(&http, "/jobs/batch", &key, &jobs);
        async { Answer::of(request).await.expect(202).json["items"].clone() }
    };
    let broken = send(json!({"type": "sleep", "colour": 1})).await;
    let mended = send(json!({"type": "sleep", "payload": {"ms": 1}})).await;
    let again = send(json!({"type": "sleep", "payload": {"ms": 1}})).await;
    assert_eq!((&broken[0]["status"], &mended[0]["status"]), (&json!(422), &json!(202)));
    assert_eq!(broken[1]["job"]["id"], mended[1]["job"]["id"]);
    for place in 0..2 {
        assert_eq!(mended[place]["job"]["id"], again[place]["job"]["id"]);
    }
}
