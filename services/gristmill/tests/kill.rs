//! The promise that counts: what was answered with 202 is done, once, however often the server is killed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use gristmill_testkit::{Server, ServerBuilder, eventually};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

const CLIENTS: usize = 64;
const KILLS: usize = 20;

/// What the clients share.
struct Load {
    /// Where the server is now.
    url: watch::Receiver<String>,
    over: AtomicBool,
    accepted: AtomicUsize,
}

/// One client: submits until it is over, and returns the ids answered with 202. Every other job has an
/// idempotency key and is sent again until it is answered.
async fn submit_until_over(load: Arc<Load>, client: usize) -> Vec<String> {
    let http = Client::builder().timeout(Duration::from_secs(10)).build().expect("a client");
    let mut ids = Vec::new();
    let mut number = 0;
    while !load.over.load(Ordering::Relaxed) {
        number += 1;
        let body = json!({"type": "sleep", "payload": {"ms": number % 5}});
        let key = (number % 2 == 0).then(|| format!("client-{client}-{number}"));
        let id = loop {
            let url = load.url.borrow().clone();
            let mut request = http.post(format!("{url}/api/v1/jobs")).json(&body);
            if let Some(key) = &key {
                request = request.header("Idempotency-Key", key);
            }
            let answered = async { request.send().await?.error_for_status()?.json::<Value>().await };
            match answered.await {
                Ok(job) => break job["id"].as_str().map(str::to_owned),
                // Killed in the middle: without a key nobody knows whether the job was stored.
                Err(_) if key.is_none() => break None,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        if let Some(id) = id {
            ids.push(id);
            load.accepted.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ids
}

async fn get(server: &Server, http: &Client, call: &str) -> Value {
    let answer = http.get(server.api(call)).send().await.expect("an answer");
    answer.json().await.expect("json")
}

/// Every job of the server, by its id.
async fn all_jobs(server: &Server, http: &Client) -> HashMap<String, Value> {
    let (mut jobs, mut call) = (HashMap::new(), "/jobs?limit=500".to_owned());
    loop {
        let page = get(server, http, &call).await;
        for job in page["items"].as_array().expect("items") {
            let id = job["id"].as_str().expect("an id").to_owned();
            assert!(jobs.insert(id, job.clone()).is_none(), "a page showed a job twice");
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => call = format!("/jobs?limit=500&cursor={cursor}"),
            None => return jobs,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_answered_with_202_is_done_once_though_the_server_is_killed_twenty_times() {
    let data = tempfile::tempdir().expect("a folder");
    let builder = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path()).with("log.filter", "error");
    let mut server = builder.start().await.expect("a server");
    let (moved, url) = watch::channel(server.url().to_owned());
    let load = Arc::new(Load { url, over: AtomicBool::new(false), accepted: AtomicUsize::new(0) });
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(submit_until_over(load.clone(), client))).collect();
    for kill in 0..KILLS {
        let before = load.accepted.load(Ordering::Relaxed);
        // Each life does some work, and ends at no particular moment of it.
        eventually("more jobs are accepted", || async {
            (load.accepted.load(Ordering::Relaxed) >= before + 100 + 7 * kill).then_some(())
        })
        .await;
        server.kill().await.expect("killed");
        server = builder.start().await.expect("a server again");
        moved.send_replace(server.url().to_owned());
    }
    load.over.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for client in clients {
        accepted.extend(client.await.expect("a client"));
    }

    let http = Client::new();
    eventually("everything has ended", || async {
        let counts = get(&server, &http, "/stats").await["counts"].clone();
        ["scheduled", "queued", "running"].iter().all(|state| counts[state] == 0).then_some(())
    })
    .await;
    let jobs = all_jobs(&server, &http).await;
    let mut claims = 0;
    for id in &accepted {
        let job = jobs.get(id).unwrap_or_else(|| panic!("{id} was accepted and is missing"));
        assert_eq!(job["state"], "succeeded", "{job}");
        let history = get(&server, &http, &format!("/jobs/{id}/history")).await;
        let count = |what: &str| {
            let entries = history["items"].as_array().expect("items");
            entries.iter().filter(|entry| entry["what"] == what).count()
        };
        assert_eq!((count("created"), count("succeeded"), count("failed")), (1, 1, 0), "{history}");
        claims += count("claimed");
    }
    assert_eq!(get(&server, &http, "/dead-letters").await["items"], json!([]));
    println!(
        "{KILLS} kills under {CLIENTS} clients: {} accepted, 0 missing, 0 doubled, 0 dead letters; {} runs were cut short; {} more were stored and not acknowledged",
        accepted.len(),
        claims - accepted.len(),
        jobs.len() - accepted.len(),
    );
    assert!(server.terminate().await.expect("stopped").success());
}
