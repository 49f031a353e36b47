//! Schedules: put, told, fired, paused, deleted.

use std::{collections::BTreeSet, time::Duration};

use gristmill_testkit::{Answer, Http, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::stand::unique;

/// How long a thing is watched that must not happen.
const WATCHED: Duration = Duration::from_millis(2_500);

async fn put(http: &Http, name: &str, schedule: &Value) -> Answer {
    Answer::of(http.call(Method::PUT, &format!("/schedules/{name}")).json(schedule)).await
}

fn sleep() -> Value {
    json!({"type": "sleep", "payload": {"ms": 0}})
}

pub(crate) async fn a_schedule_is_put_told_changed_and_deleted(http: Http) {
    let name = unique("nightly");
    let call = format!("/schedules/{name}");
    let job = json!({"type": "sleep", "payload": {"ms": 5}, "tags": ["report"], "timeout_ms": 9});
    let schedule = json!({"cron": "30 2 * * MON-FRI", "time_zone": "europe/berlin", "job": job, "overlap": "skip"});
    let made = put(&http, &name, &schedule).await.expect(201);
    assert_eq!(made.header("location"), format!("/api/v1{call}"));
    let told = http.get(&call).await.expect(200).json;
    assert_eq!(told, made.json);
    assert_eq!((&told["name"], &told["cron"]), (&json!(name), &json!("30 2 * * MON-FRI")));
    assert_eq!((&told["time_zone"], &told["missed"]), (&json!("Europe/Berlin"), &json!("fire_once")));
    assert_eq!((&told["overlap"], &told["paused"]), (&json!("skip"), &json!(false)));
    assert_eq!((&told["last_job_id"], told["next"].as_array().map(Vec::len)), (&Value::Null, Some(5)));
    // What was left out is filled in.
    let template = &told["job"];
    assert_eq!((&template["queue"], &template["priority"]), (&json!("default"), &json!("normal")));
    assert_eq!((&template["timeout_ms"], &template["tags"]), (&json!(9), &json!(["report"])));
    assert!(template["max_attempts"].is_u64() && template["backoff"]["kind"].is_string(), "{template}");

    let paused = http.send(Method::POST, &format!("{call}/pause")).await.expect(200).json;
    assert_eq!((&paused["paused"], &paused["next"]), (&json!(true), &json!([])));
    let changed = put(&http, &name, &json!({"cron": "@hourly", "job": sleep()})).await.expect(200).json;
    assert_eq!((&changed["paused"], &changed["time_zone"]), (&json!(true), &json!("UTC")), "as paused as it was");
    assert_eq!(changed["created_at"], told["created_at"]);
    let resumed = http.send(Method::POST, &format!("{call}/resume")).await.expect(200).json;
    assert_eq!((&resumed["paused"], resumed["next"].as_array().map(Vec::len)), (&json!(false), Some(5)));

    let _ = http.send(Method::DELETE, &call).await.expect(204);
    for (method, what) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/pause"), (Method::POST, "/resume")]
    {
        http.send(method.clone(), &format!("{call}{what}")).await.refused(404, "schedule_not_found");
        http.send(method, &format!("/schedules/No%20name{what}")).await.refused(404, "schedule_not_found");
    }
}

pub(crate) async fn schedules_come_in_pages_by_name(http: Http) {
    let prefix = unique("page");
    let mut names: Vec<String> = ["b", "a", "c"].iter().map(|end| format!("{prefix}-{end}")).collect();
    for name in &names {
        let _ = put(&http, name, &json!({"cron": "0 0 1 1 *", "job": sleep()})).await.expect(201);
    }
    names.sort();
    let (mut seen, mut call) = (Vec::new(), "/schedules?limit=2".to_owned());
    loop {
        let page = http.get(&call).await.expect(200);
        assert!(page.items().len() <= 2);
        seen.extend(page.items().iter().filter_map(|item| item["name"].as_str().map(ToOwned::to_owned)));
        let Some(cursor) = page.json["next_cursor"].as_str() else { break };
        assert!(page.header("link").contains(cursor) && page.header("link").contains("rel=\"next\""));
        call = format!("/schedules?limit=2&cursor={cursor}");
    }
    assert!(seen.is_sorted(), "{seen:?}");
    let own: Vec<String> = seen.into_iter().filter(|name| name.starts_with(&prefix)).collect();
    assert_eq!(own, names);
    for (query, pointer) in [("limit=0", "?limit"), ("cursor=%21", "?cursor"), ("colour=red", "?colour")] {
        http.get(&format!("/schedules?{query}")).await.refused(422, "invalid_query").at(pointer);
    }
    for name in names {
        let _ = http.send(Method::DELETE, &format!("/schedules/{name}")).await.expect(204);
    }
}

pub(crate) async fn a_schedule_fires_each_time_once_until_it_is_paused(http: Http) {
    let name = unique("second");
    let (call, tag) = (format!("/schedules/{name}"), format!("/jobs?tag=schedule:{name}&limit=100"));
    let schedule = json!({"cron": "* * * * * *", "job": {"type": "sleep", "payload": {"ms": 0}, "tags": ["x"]}});
    let _ = put(&http, &name, &schedule).await.expect(201);
    let fired = eventually("it has fired three times", || async {
        let fired = http.get(&tag).await.expect(200);
        (fired.items().len() >= 3).then(|| fired.items().to_vec())
    })
    .await;
    let job = http.ended(fired[0]["id"].as_str().expect("an id")).await;
    assert_eq!((&job["state"], &job["tags"]), (&json!("succeeded"), &json!(["x", format!("schedule:{name}")])));
    // A leader that was held up would make it again, if it were gone. On a slow machine one may be old enough.
    eventually("one that was just made is not deleted", || async {
        let fired = http.get(&tag).await.expect(200);
        let id = fired.items().iter().find(|job| job["state"] == "succeeded")?["id"].as_str()?.to_owned();
        let answer = http.send(Method::DELETE, &format!("/jobs/{id}")).await;
        (answer.json["code"] == "job_just_fired").then(|| answer.refused(409, "job_just_fired"))
    })
    .await;

    let paused = http.send(Method::POST, &format!("{call}/pause")).await.expect(200).json;
    assert!(paused["last_job_id"].is_string(), "{paused}");
    // The leader may have been at it when it was paused.
    tokio::time::sleep(WATCHED).await;
    let before = http.get(&tag).await.expect(200).items().len();
    tokio::time::sleep(WATCHED).await;
    let after = http.get(&tag).await.expect(200);
    assert_eq!(after.items().len(), before);
    let instants: BTreeSet<&str> = after.items().iter().filter_map(|job| job["run_at"].as_str()).collect();
    assert_eq!(instants.len(), before, "each once: {instants:?}");
    assert!(instants.iter().all(|instant| instant.ends_with(".000Z")), "{instants:?}");
    let _ = http.send(Method::DELETE, &call).await.expect(204);
}
