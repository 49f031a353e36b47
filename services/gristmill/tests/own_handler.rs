//! The example: a server with a job type of one's own. `cargo test` builds it beside the program.

use std::path::Path;

use gristmill_testkit::ServerBuilder;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn a_handler_of_ones_own_runs_and_its_payloads_are_checked() {
    let beside = Path::new(env!("CARGO_BIN_EXE_gristmill")).with_file_name("examples").join("own_handler");
    let data = tempfile::tempdir().expect("a folder");
    let server = ServerBuilder::new(beside, data.path()).start().await.expect("a server");
    let http = Client::new();
    let submit = |payload: Value| {
        let body = json!({"type": "reverse", "payload": payload});
        http.post(server.api("/jobs")).json(&body).send()
    };
    let accepted: Value = submit(json!({"text": "stressed"})).await.expect("an answer").json().await.expect("json");
    let job = http.get(server.api(&format!("/jobs/{}", accepted["id"].as_str().expect("an id"))));
    let done: Value = job.header("Prefer", "wait=10").send().await.expect("an answer").json().await.expect("json");
    assert_eq!((&done["state"], &done["result"]), (&json!("succeeded"), &json!({"text": "desserts"})));
    let refused = submit(json!({"txt": "stressed"})).await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(server.terminate().await.expect("stopped").success());
}
