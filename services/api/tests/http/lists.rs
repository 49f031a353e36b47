//! Lists: filtered, sorted, cut into pages, and strict about it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Answer, Stack, spawn, spawn_idle};

fn ids(page: &Answer) -> Vec<String> {
    let items = page.json["items"].as_array().expect("items");
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// Every id of a list, page by page, by following the links.
async fn follow(stack: &Stack, path: &str) -> Vec<String> {
    let mut path = path.to_owned();
    let mut all = Vec::new();
    loop {
        let page = stack.get(&path).await.expect(200);
        all.extend(ids(&page));
        let link = page.header("link").to_owned();
        match page.json["next_cursor"].as_str() {
            None => {
                assert_eq!(link, "");
                return all;
            }
            Some(cursor) => {
                let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(r#">; rel="next""#));
                path = target.expect("a link").to_owned();
                assert!(path.ends_with(&format!("cursor={cursor}")), "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_every_job_once_and_in_order() {
    let stack = spawn_idle().await;
    let mut sent = Vec::new();
    for _ in 0..7 {
        sent.push(stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await);
        stack.clock.shift(10);
    }
    assert_eq!(follow(&stack, "/api/v1/jobs?limit=2&sort=created_at").await, sent);
    sent.reverse();
    assert_eq!(follow(&stack, "/api/v1/jobs?limit=3").await, sent);
    assert_eq!(follow(&stack, "/api/v1/jobs").await, sent);

    // What comes in meanwhile may be seen or not; what was there is seen once.
    let first = stack.get("/api/v1/jobs?limit=3").await.expect(200);
    let mut seen = ids(&first);
    stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    let cursor = first.json["next_cursor"].as_str().expect("more");
    assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    seen.extend(follow(&stack, &format!("/api/v1/jobs?limit=3&cursor={cursor}")).await);
    assert_eq!(seen, sent);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_filters() {
    let stack = spawn_idle().await;
    stack.send(reqwest::Method::PUT, "/api/v1/queues/mail").await.expect(200);
    let mut submit = Vec::new();
    for body in [
        json!({"type": "sleep", "payload": {"ms": 0}}),
        json!({"type": "fail", "payload": {"message": ""}, "priority": "high"}),
        json!({"type": "sleep", "payload": {"ms": 0}, "queue": "mail", "tags": ["a b", "x"]}),
        json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 60_000, "priority": "low"}),
    ] {
        submit.push(stack.submit(body).await);
        stack.clock.shift(1_000);
    }
    let created = stack.get(&format!("/api/v1/jobs/{}", submit[1])).await.json["created_at"].clone();
    let created = created.as_str().expect("a time");
    for (query, expected) in [
        ("state=scheduled".to_owned(), vec![3]),
        ("state=queued".to_owned(), vec![2, 1, 0]),
        ("state=queued,scheduled".to_owned(), vec![3, 2, 1, 0]),
        ("state=failed".to_owned(), vec![]),
        ("type=fail".to_owned(), vec![1]),
        ("type=never_heard_of".to_owned(), vec![]),
        ("queue=mail".to_owned(), vec![2]),
        ("priority=normal".to_owned(), vec![2, 0]),
        ("tag=x".to_owned(), vec![2]),
        ("tag=a%20b".to_owned(), vec![2]),
        ("tag=a".to_owned(), vec![]),
        (format!("created_after={created}"), vec![3, 2]),
        (format!("created_before={created}"), vec![0]),
        (format!("created_after={created}&type=sleep&sort=created_at"), vec![2, 3]),
        ("type=sleep&queue=default&state=queued&priority=normal".to_owned(), vec![0]),
    ] {
        let found: Vec<_> = follow(&stack, &format!("/api/v1/jobs?{query}")).await;
        let expected: Vec<_> = expected.into_iter().map(|place: usize| submit[place].clone()).collect();
        assert_eq!(found, expected, "{query}");
        let limited = if query.is_empty() { "limit=1".to_owned() } else { format!("{query}&limit=1") };
        assert_eq!(follow(&stack, &format!("/api/v1/jobs?{limited}")).await, expected, "{limited}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused_by_name() {
    let stack = spawn_idle().await;
    for (query, pointer) in [
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("limit=1000000", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=ten", "?limit"),
        ("limit=", "?limit"),
        ("limit=1&limit=2", "?limit"),
        ("cursor=", "?cursor"),
        ("cursor=nonsense", "?cursor"),
        ("cursor=%F0%9F%98%80", "?cursor"),
        ("cursor=AAAA", "?cursor"),
        ("state=done", "?state"),
        ("state=queued,", "?state"),
        ("state=", "?state"),
        ("type=Not+A+Name", "?type"),
        ("queue=a/b", "?queue"),
        ("priority=urgent", "?priority"),
        ("created_after=yesterday", "?created_after"),
        ("created_before=2026-13-01T00:00:00Z", "?created_before"),
        ("sort=type", "?sort"),
        ("sort=--created_at", "?sort"),
        ("colour=red", "?colour"),
    ] {
        stack.get(&format!("/api/v1/jobs?{query}")).await.refused(422, "invalid_query").at(pointer);
    }
    for (query, pointer) in
        [("state=failed", "?state"), ("sort=created_at", "?sort"), ("limit=0", "?limit"), ("cursor=x", "?cursor")]
    {
        stack.get(&format!("/api/v1/dead-letters?{query}")).await.refused(422, "invalid_query").at(pointer);
    }
    stack.get("/api/v1/jobs?limit=500").await.expect(200);

    // A cursor belongs to its order, and to its list.
    for _ in 0..2 {
        stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
    }
    let page = stack.get("/api/v1/jobs?limit=1").await.expect(200);
    let cursor = page.json["next_cursor"].as_str().expect("more");
    stack
        .get(&format!("/api/v1/jobs?sort=created_at&cursor={cursor}"))
        .await
        .refused(422, "invalid_query")
        .at("?cursor");
    stack.get(&format!("/api/v1/dead-letters?cursor={cursor}")).await.refused(422, "invalid_query").at("?cursor");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_leave_bodies_out_and_dead_letters_are_failed_jobs() {
    let stack = spawn().await;
    let good = stack.submit(json!({"type": "word_count", "payload": {"text": "a"}})).await;
    stack.ended(&good).await;
    let mut dead = BTreeSet::new();
    for queue in ["one", "two", "two"] {
        stack.send(reqwest::Method::PUT, &format!("/api/v1/queues/{queue}")).await.expect(200);
        let body = json!({"type": "fail", "payload": {"message": "x"}, "max_attempts": 1, "queue": queue});
        let id = stack.submit(body).await;
        assert_eq!(stack.ended(&id).await["state"], "failed");
        dead.insert(id);
    }
    let all = stack.get("/api/v1/jobs").await.expect(200);
    assert_eq!(ids(&all).len(), 4);
    for job in all.json["items"].as_array().expect("items") {
        assert_eq!((&job["result"], job.get("payload")), (&Value::Null, None));
    }
    let listed: BTreeSet<_> = follow(&stack, "/api/v1/dead-letters?limit=2").await.into_iter().collect();
    assert_eq!(listed, dead);
    assert_eq!(follow(&stack, "/api/v1/dead-letters?queue=two&type=fail").await.len(), 2);
    assert_eq!(follow(&stack, "/api/v1/dead-letters?failed_after=2999-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(follow(&stack, "/api/v1/dead-letters?failed_before=2999-01-01T00:00:00Z&sort=failed_at").await.len(), 3);
    stack.stop().await;
}
