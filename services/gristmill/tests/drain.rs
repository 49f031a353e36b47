//! A server that is told to stop gives back what still runs, uncharged, and exits with 0.

use std::time::{Duration, Instant};

use gristmill_testkit::{Server, ServerBuilder, eventually};
use reqwest::Client;
use serde_json::{Value, json};

async fn get(server: &Server, http: &Client, call: &str) -> Value {
    http.get(server.api(call)).send().await.expect("an answer").json().await.expect("json")
}

async fn runs(server: &Server, http: &Client, id: &str) -> Value {
    eventually("the job runs", || async {
        let job = get(server, http, &format!("/jobs/{id}")).await;
        (job["state"] == "running").then_some(job)
    })
    .await
}

#[tokio::test]
async fn a_running_job_is_given_back_uncharged_and_runs_after_the_restart() {
    let data = tempfile::tempdir().expect("a folder");
    let builder = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path()).with("worker.drain_ms", 300);
    let server = builder.start().await.expect("a server");
    let http = Client::new();
    let sleep = json!({"type": "sleep", "payload": {"ms": 60_000}});
    let accepted = http.post(server.api("/jobs")).json(&sleep).send().await.expect("an answer");
    let job: Value = accepted.error_for_status().expect("accepted").json().await.expect("json");
    let id = job["id"].as_str().expect("an id");
    assert_eq!(runs(&server, &http, id).await["attempt"], 1);

    let told = Instant::now();
    assert!(server.terminate().await.expect("stopped").success());
    assert!(told.elapsed() < Duration::from_secs(5), "it did not wait for the job: {:?}", told.elapsed());

    let server = builder.start().await.expect("a server again");
    assert_eq!(runs(&server, &http, id).await["attempt"], 1, "the first run is not charged");
    let history = get(&server, &http, &format!("/jobs/{id}/history")).await;
    let told: Vec<&str> =
        history["items"].as_array().expect("items").iter().filter_map(|entry| entry["what"].as_str()).collect();
    assert_eq!(told, ["created", "claimed", "released", "claimed"], "{history}");
    assert!(server.terminate().await.expect("stopped").success());
}
