//! Many jobs in one request.

use gristmill_testkit::{Http, eventually};
use serde_json::{Value, json};

use crate::stand::unique;

pub(crate) async fn each_item_of_a_batch_has_its_own_outcome(http: Http) {
    let sleep = json!({"type": "sleep", "payload": {"ms": 0}});
    let jobs = json!({"jobs": [
        sleep,
        {"type": "sleep", "payload": {"ms": "x"}},
        {"type": "sleep", "payload": {"ms": 0}, "colour": 1},
        {"type": "nothing"},
        {"type": "sleep", "payload": {"ms": 0}, "queue": "nowhere"},
        sleep,
    ]});
    let answer = http.post("/jobs/batch", &jobs).await.expect(202);
    let items = answer.items();
    let statuses: Vec<&Value> = items.iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [202, 422, 422, 422, 422, 202]);
    for (place, code, pointer) in [
        (1, "invalid_job", "/payload/ms"),
        (2, "invalid_job", "/colour"),
        (3, "unknown_job_type", "/type"),
        (4, "unknown_queue", "/queue"),
    ] {
        let problem = &items[place]["problem"];
        assert_eq!((&problem["code"], &problem["errors"][0]["pointer"]), (&json!(code), &json!(pointer)));
        assert_eq!(problem["request_id"], json!(answer.header("x-request-id")));
    }
    for place in [0, 5] {
        let id = items[place]["job"]["id"].as_str().expect("an id");
        assert_eq!(http.ended(id).await["state"], "succeeded");
    }
    http.post("/jobs/batch", &json!({"jobs": {}})).await.refused(422, "invalid_batch").at("/jobs");
    http.post("/jobs/batch", &json!({"jobs": vec![sleep; 1_001]})).await.refused(422, "invalid_batch").at("/jobs");
}

pub(crate) async fn a_batch_of_a_thousand_is_run(http: Http) {
    let tag = unique("tag");
    let job = json!({"type": "word_count", "payload": {"text": "to be or not to be"}, "tags": [tag]});
    let answer = http.post("/jobs/batch", &json!({"jobs": vec![job; 1_000]})).await.expect(202);
    assert!(answer.items().iter().all(|item| item["status"] == 202), "{}", answer.text);
    eventually("all have succeeded", || async {
        let mut succeeded = 0;
        let mut call = format!("/jobs?tag={tag}&limit=500");
        loop {
            let page = http.get(&call).await.expect(200);
            succeeded += page.items().iter().filter(|job| job["state"] == "succeeded").count();
            match page.json["next_cursor"].as_str() {
                Some(cursor) => call = format!("/jobs?tag={tag}&limit=500&cursor={cursor}"),
                None => return (succeeded == 1_000).then_some(()),
            }
        }
    })
    .await;
}
