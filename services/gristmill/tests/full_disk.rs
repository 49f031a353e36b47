//! A full disk: 503, nothing acknowledged that is not stored, and on again when there is room.

use std::{fs, path::Path};

use gristmill_testkit::{Disk, ServerBuilder, eventually};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

const DISK_MEGABYTES: u32 = 24;
const BALLAST_BYTES: usize = 8 << 20;

#[tokio::test]
async fn a_full_disk_refuses_with_503_keeps_what_was_accepted_and_goes_on_when_there_is_room() {
    let disk = Disk::in_memory(DISK_MEGABYTES).expect("a disk");
    let server = ServerBuilder::on(&disk, Path::new(env!("CARGO_BIN_EXE_gristmill")))
        .with("worker.concurrency", 0)
        .with("log.filter", "error")
        .start()
        .await
        .expect("a server");
    let ballast = disk.seen().join("ballast");
    fs::write(&ballast, vec![1; BALLAST_BYTES]).expect("there is room for the ballast");
    let http = Client::new();
    let body = json!({"type": "word_count", "payload": {"text": "x".repeat(50_000)}});
    let submit = || async { http.post(server.api("/jobs")).json(&body).send().await.expect("an answer") };

    let mut accepted = Vec::new();
    let refused = loop {
        let answer = submit().await;
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        let job: Value = answer.json().await.expect("json");
        accepted.push(job["id"].as_str().expect("an id").to_owned());
        assert!(accepted.len() < 1_000, "a disk of {DISK_MEGABYTES} MB cannot hold so much");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let problem: Value = refused.json().await.expect("json");
    assert_eq!(problem["code"], "out_of_space", "{problem}");

    fs::remove_file(&ballast).expect("the ballast is thrown off");
    let again = eventually("there is room again", || async {
        let answer = submit().await;
        (answer.status() == StatusCode::ACCEPTED).then_some(answer)
    })
    .await;
    let job: Value = again.json().await.expect("json");
    accepted.push(job["id"].as_str().expect("an id").to_owned());
    for id in &accepted {
        let found = http.get(server.api(&format!("/jobs/{id}"))).send().await.expect("an answer");
        assert_eq!(found.status(), StatusCode::OK, "{id} was accepted and is missing");
    }
    let stats: Value = http.get(server.api("/stats")).send().await.expect("an answer").json().await.expect("json");
    assert_eq!(stats["counts"]["queued"], accepted.len(), "nothing was stored that was refused");
    assert!(server.terminate().await.expect("stopped").success());
}
