//! Requests are spread over the replicas, and those that are gone are left out.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use gristmill_testkit::{GatewayBuilder, eventually};
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::{
    fake::{Fake, Manner, refusing},
    fresh_connections, gateway, problem, replica, sleep,
};

/// How many jobs a server has.
async fn jobs(url: &str, http: &Client) -> usize {
    let list = http.get(format!("{url}/api/v1/jobs?limit=500")).send().await.expect("an answer");
    list.json::<Value>().await.expect("json")["items"].as_array().expect("items").len()
}

#[tokio::test]
async fn replicas_take_turns() {
    let (one, two) = (replica().await, replica().await);
    let gateway = gateway([one.server.url(), two.server.url()]).await;
    let http = fresh_connections();
    for _ in 0..20 {
        let answer = http.post(gateway.api("/jobs")).json(&sleep(1)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    assert_eq!([jobs(one.server.url(), &http).await, jobs(two.server.url(), &http).await], [10, 10]);
}

#[tokio::test]
async fn nobody_notices_a_replica_that_was_killed() {
    let (one, two) = (replica().await, replica().await);
    let gateway = gateway([one.server.url(), two.server.url()]).await;
    let http = Client::new();
    let submit = || http.post(gateway.api("/jobs")).json(&sleep(1)).send();
    for _ in 0..4 {
        assert_eq!(submit().await.expect("an answer").status(), StatusCode::ACCEPTED);
    }
    one.server.kill().await.expect("killed");
    for _ in 0..20 {
        assert_eq!(submit().await.expect("an answer").status(), StatusCode::ACCEPTED);
        let list = http.get(gateway.api("/jobs")).send().await.expect("an answer");
        assert_eq!(list.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_replica_that_comes_back_is_used_again() {
    let back = Fake::start(Manner::Answers).await;
    let gone = refusing();
    let mut gateway = gateway([gone.1.as_str(), back.url.as_str()]).await;
    let http = Client::new();
    for _ in 0..10 {
        let answer = http.post(gateway.api("/jobs")).json(&sleep(1)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(back.requests(), 10);
    gateway.reload([gone.1.as_str()]).await.expect("reloaded");
    let nobody = http.get(gateway.api("/jobs")).send().await.expect("an answer");
    problem(nobody, 502, "bad_gateway").await;

    // The same address, now with somebody behind it.
    let listener = gone.0.listen(16).expect("a listener");
    let answering = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = [0; 4096];
            while let Ok(1..) = stream.read(&mut piece).await {
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("nginx listens");
            }
        }
    });
    eventually("it is used again", || async {
        let answer = http.get(gateway.api("/jobs")).send().await.expect("an answer");
        (answer.status() == StatusCode::NO_CONTENT).then_some(())
    })
    .await;
    answering.abort();
}

#[tokio::test]
async fn connections_to_replicas_are_kept() {
    let fake = Fake::start(Manner::Answers).await;
    // Each of nginx's processes keeps its own.
    let single = ("nginx.conf", "worker_processes auto;", "worker_processes 1;");
    let builder = GatewayBuilder::new([&fake.url]).with_edit(single.0, single.1, single.2);
    let gateway = builder.start().await.expect("a gateway");
    let http = fresh_connections();
    for turn in 0..100 {
        let request = if turn % 2 == 0 { http.get(gateway.api("/jobs")) } else { http.post(gateway.api("/jobs")) };
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::OK);
    }
    assert_eq!((fake.requests(), fake.connections()), (100, 1));
    assert!(!fake.text().to_lowercase().contains("connection: close"));
}

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    let (one, two, three) = (replica().await, replica().await, replica().await);
    let mut gateway = gateway([one.server.url(), two.server.url()]).await;
    let (accepted, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let submitters: Vec<_> = (0..8)
        .map(|_| {
            let (address, accepted, done) = (gateway.api("/jobs"), accepted.clone(), done.clone());
            tokio::spawn(async move {
                let http = fresh_connections();
                while !done.load(Ordering::Relaxed) {
                    let answer = http.post(&address).json(&sleep(1)).send().await.expect("an answer");
                    assert_eq!(answer.status(), StatusCode::ACCEPTED);
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let goes_on = async |count: usize| {
        let before = accepted.load(Ordering::Relaxed);
        eventually("submissions go on", || async {
            (accepted.load(Ordering::Relaxed) >= before + count || submitters.iter().any(|task| task.is_finished()))
                .then_some(())
        })
        .await;
    };
    goes_on(50).await;
    gateway.reload([three.server.url(), two.server.url()]).await.expect("reloaded");
    goes_on(50).await;
    gateway.reload([three.server.url()]).await.expect("reloaded");
    goes_on(50).await;
    gateway.reload([one.server.url(), three.server.url()]).await.expect("reloaded");
    goes_on(50).await;
    done.store(true, Ordering::Relaxed);
    for submitter in submitters {
        submitter.await.expect("no submission was lost");
    }
    let http = Client::new();
    let mut stored = 0;
    for replica in [&one, &two, &three] {
        let stats: Value =
            http.get(replica.server.api("/stats")).send().await.expect("an answer").json().await.expect("json");
        stored += stats["counts"].as_object().expect("counts").values().filter_map(Value::as_u64).sum::<u64>();
    }
    assert_eq!(stored, accepted.load(Ordering::Relaxed) as u64, "each was stored once");
}
