//! Lists: filtered, and cut into pages.

use std::collections::BTreeMap;

use gristmill_testkit::Http;
use reqwest::Method;
use serde_json::json;

use crate::stand::unique;

/// Every id of a list in its order, by following the cursors.
async fn follow(http: &Http, call: &str) -> Vec<String> {
    let (mut all, mut next) = (Vec::new(), call.to_owned());
    loop {
        let page = http.get(&next).await.expect(200);
        all.extend(page.items().iter().map(|job| job["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page.json["next_cursor"].as_str() else {
            assert_eq!(page.header("link"), "");
            return all;
        };
        assert!(page.header("link").ends_with(r#">; rel="next""#), "{:?}", page.headers);
        next = format!("{call}&cursor={cursor}");
    }
}

pub(crate) async fn every_filter_filters(http: Http) {
    let (tag, queue) = (unique("tag"), unique("queue"));
    let _ = http.send(Method::PUT, &format!("/queues/{queue}")).await.expect(200);
    let mut ids = Vec::new();
    let mut created = Vec::new();
    for body in [
        json!({"type": "sleep", "payload": {"ms": 0}}),
        json!({"type": "fail", "payload": {"message": ""}, "priority": "high", "max_attempts": 1}),
        json!({"type": "sleep", "payload": {"ms": 0}, "queue": queue}),
        json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 3_600_000, "priority": "low"}),
    ] {
        let mut body = body;
        body["tags"] = json!([tag, "a b"]);
        let accepted = http.post("/jobs", &body).await.expect(202);
        ids.push(accepted.id());
        created.push(accepted.json["created_at"].as_str().expect("a time").to_owned());
        if body.get("delay_ms").is_none() {
            http.ended(&accepted.id()).await;
        }
    }
    for (query, expected) in [
        (String::new(), vec![3, 2, 1, 0]),
        ("&sort=created_at".to_owned(), vec![0, 1, 2, 3]),
        ("&state=scheduled".to_owned(), vec![3]),
        ("&state=succeeded".to_owned(), vec![2, 0]),
        ("&state=failed,scheduled".to_owned(), vec![3, 1]),
        ("&type=fail".to_owned(), vec![1]),
        ("&type=never_heard_of".to_owned(), vec![]),
        (format!("&queue={queue}"), vec![2]),
        ("&priority=normal".to_owned(), vec![2, 0]),
        (format!("&created_after={}", created[1]), vec![3, 2]),
        (format!("&created_before={}", created[1]), vec![0]),
        ("&type=sleep&queue=default&state=succeeded&priority=normal".to_owned(), vec![0]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|place: usize| ids[place].clone()).collect();
        for limit in ["", "&limit=1"] {
            let call = format!("/jobs?tag={tag}{query}{limit}");
            assert_eq!(follow(&http, &call).await, expected, "{call}");
        }
    }
}

pub(crate) async fn pages_have_every_job_once_while_more_come_in(http: Http) {
    let tag = unique("tag");
    let job = json!({"type": "sleep", "payload": {"ms": 0}, "tags": [tag]});
    let first = http.post("/jobs/batch", &json!({"jobs": vec![job.clone(); 60]})).await.expect(202);
    let sent: Vec<&str> = first.items().iter().filter_map(|item| item["job"]["id"].as_str()).collect();
    let adding = async {
        for _ in 0..40 {
            http.submit(job.clone()).await;
        }
    };
    let (newest, oldest) = (format!("/jobs?tag={tag}&limit=7"), format!("/jobs?tag={tag}&limit=7&sort=created_at"));
    let ((), newest, oldest) = tokio::join!(adding, follow(&http, &newest), follow(&http, &oldest));
    for seen in [newest, oldest] {
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for id in &seen {
            *times.entry(id).or_default() += 1;
        }
        assert!(times.values().all(|&times| times == 1), "a job was seen twice: {times:?}");
        assert!(sent.iter().all(|id| times.contains_key(id)), "a job was not seen: {seen:?}");
    }
    assert_eq!(follow(&http, &format!("/jobs?tag={tag}&limit=33")).await.len(), 100);
}

pub(crate) async fn what_is_no_question_is_refused_by_name(http: Http) {
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("cursor=nonsense", "?cursor"),
        ("state=done", "?state"),
        ("priority=urgent", "?priority"),
        ("created_after=yesterday", "?created_after"),
        ("sort=type", "?sort"),
        ("colour=red", "?colour"),
    ] {
        http.get(&format!("/jobs?{query}")).await.refused(422, "invalid_query").at(pointer);
    }
    http.get("/dead-letters?state=failed").await.refused(422, "invalid_query").at("?state");
}
