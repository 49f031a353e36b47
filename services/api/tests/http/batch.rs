//! Batches: an outcome for each.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, spawn, spawn_idle};

const BATCH: &str = "/api/v1/jobs/batch";

fn statuses(answer: &Answer) -> Vec<u64> {
    let items = answer.json["items"].as_array().expect("items");
    items.iter().map(|item| item["status"].as_u64().expect("a status")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_judged_on_its_own() {
    let stack = spawn().await;
    let sleep = json!({"type": "sleep", "payload": {"ms": 0}});
    let jobs = json!({"jobs": [
        sleep,
        {"type": "sleep", "payload": {"ms": "x"}},
        {"type": "sleep", "payload": {"ms": 0}, "colour": 1},
        7,
        {"type": "nothing"},
        {"type": "sleep", "payload": {"ms": 0}, "queue": "nowhere"},
        sleep,
    ]});
    let answer = stack.post(BATCH, &jobs).await.expect(202);
    assert_eq!(statuses(&answer), [202, 422, 422, 422, 422, 422, 202]);
    let problem = |place: usize| &answer.json["items"][place]["problem"];
    let expected = [
        (1, "invalid_job", "/payload/ms"),
        (2, "invalid_job", "/colour"),
        (3, "invalid_job", ""),
        (4, "unknown_job_type", "/type"),
        (5, "unknown_queue", "/queue"),
    ];
    for (place, code, pointer) in expected {
        assert_eq!(
            (problem(place)["code"].as_str(), problem(place)["errors"][0]["pointer"].as_str()),
            (Some(code), Some(pointer))
        );
        assert_eq!(problem(place)["request_id"], json!(answer.header("x-request-id")));
        assert!(answer.json["items"][place].get("job").is_none());
    }
    for place in [0, 6] {
        let id = answer.json["items"][place]["job"]["id"].as_str().expect("an id");
        assert_eq!(stack.ended(id).await["state"], "succeeded");
    }
    assert_eq!(stack.count().await, 2);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_is_refused_when_the_whole_is_wrong() {
    let stack = spawn_idle().await;
    stack.post_raw(BATCH, r#"{"jobs":[{"type":"sleep"},{"a":1,"a":2}]}"#).await.refused(400, "malformed_json");
    stack.post_raw(BATCH, r#"{"jobs":["#).await.refused(400, "malformed_json");
    stack.post(BATCH, &json!({"jobs": {}})).await.refused(422, "invalid_batch").at("/jobs");
    stack.post(BATCH, &json!({})).await.refused(422, "invalid_batch").at("/jobs");
    stack.post(BATCH, &json!({"jobs": [], "x": 1})).await.refused(422, "invalid_batch").at("/x");
    stack.post(BATCH, &json!([])).await.refused(422, "invalid_batch").at("");
    let many = |count: usize| json!({"jobs": vec![json!({"type": "sleep", "payload": {"ms": 0}}); count]});
    stack.post(BATCH, &many(1_001)).await.refused(422, "invalid_batch").at("/jobs");
    assert_eq!(stack.count().await, 0);
    assert_eq!(stack.post(BATCH, &many(0)).await.expect(202).json, json!({"items": []}));
    assert_eq!(statuses(&stack.post(BATCH, &many(1_000)).await.expect(202)), vec![202; 1_000]);
    assert_eq!(stack.count().await, 1_000);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_each_item_by_its_place_even_beside_one_that_is_wrong() {
    let stack = spawn_idle().await;
    let send = |first: Value| {
        let jobs = json!({"jobs": [first, {"type": "sleep", "payload": {"ms": 2}}]});
        Answer::of(stack.request(Method::POST, BATCH).header("idempotency-key", "k").json(&jobs))
    };
    let broken = send(json!({"type": "sleep", "colour": 1})).await.expect(202);
    assert_eq!(statuses(&broken), [422, 202]);
    let mended = send(json!({"type": "sleep", "payload": {"ms": 1}})).await.expect(202);
    assert_eq!(statuses(&mended), [202, 202]);
    assert_eq!(broken.json["items"][1]["job"]["id"], mended.json["items"][1]["job"]["id"]);
    assert_eq!(stack.count().await, 2);
    stack.stop().await;
}
