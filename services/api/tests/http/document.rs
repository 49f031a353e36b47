//! The served OpenAPI document: whole, and true.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, spawn};

/// What the contract has so far.
const CALLS: [(&str, &str); 30] = [
    ("post", "/api/v1/jobs"),
    ("get", "/api/v1/jobs"),
    ("post", "/api/v1/jobs/batch"),
    ("get", "/api/v1/jobs/{id}"),
    ("delete", "/api/v1/jobs/{id}"),
    ("get", "/api/v1/jobs/{id}/result"),
    ("get", "/api/v1/jobs/{id}/history"),
    ("get", "/api/v1/jobs/{id}/logs"),
    ("post", "/api/v1/jobs/{id}/cancel"),
    ("post", "/api/v1/jobs/{id}/retry"),
    ("get", "/api/v1/workers"),
    ("get", "/api/v1/job-types"),
    ("get", "/api/v1/queues"),
    ("put", "/api/v1/queues/{queue}"),
    ("post", "/api/v1/queues/{queue}/pause"),
    ("post", "/api/v1/queues/{queue}/resume"),
    ("get", "/api/v1/dead-letters"),
    ("post", "/api/v1/dead-letters/replay"),
    ("post", "/api/v1/dead-letters/discard"),
    ("put", "/api/v1/schedules/{name}"),
    ("get", "/api/v1/schedules"),
    ("get", "/api/v1/schedules/{name}"),
    ("delete", "/api/v1/schedules/{name}"),
    ("post", "/api/v1/schedules/{name}/pause"),
    ("post", "/api/v1/schedules/{name}/resume"),
    ("get", "/api/v1/stats"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
];

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| {
            let item = item.as_object().expect("operations");
            item.iter().map(move |(method, operation)| (method.clone(), path.clone(), operation.clone()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_every_call_and_every_call_answers() {
    let stack = spawn().await;
    let document = stack.get("/openapi.json").await.expect(200).json;
    assert_eq!(document["info"]["title"], "Gristmill");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let operations = operations(&document);
    let mut described: Vec<_> = operations.iter().map(|(method, path, _)| (method.as_str(), path.as_str())).collect();
    let mut promised = CALLS.to_vec();
    described.sort_unstable();
    promised.sort_unstable();
    assert_eq!(described, promised);

    for (method, path, operation) in &operations {
        let id = stack.submit(json!({"type": "sleep", "payload": {"ms": 0}})).await;
        let schedule = json!({"cron": "0 0 1 1 *", "job": {"type": "sleep", "payload": {"ms": 0}}});
        Answer::of(stack.request(Method::PUT, "/api/v1/schedules/yearly").json(&schedule)).await;
        let address = path.replace("{id}", &id).replace("{queue}", "default").replace("{name}", "yearly");
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let answer = Answer::of(stack.request(method.clone(), &address)).await;
        let status = answer.status.as_u16();
        assert!(status != 404 && status != 405 && status < 500, "{method} {address}: {status} {}", answer.text);
        let described = &operation["responses"];
        let is_described = described.get(status.to_string()).is_some() || described.get("default").is_some();
        assert!(is_described, "{method} {path}: {status} is not described");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_leads_somewhere_and_every_call_may_be_refused() {
    let document = serde_json::to_value(gristmill_api::document()).expect("JSON");
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (method, path, operation) in operations(&document) {
        if path.starts_with("/api/v1") {
            let refused = &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(refused, "#/components/schemas/Problem", "{method} {path}");
        }
        assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {path}");
    }
}

fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            map.values().for_each(|value| collect_references(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, into)),
        _ => {}
    }
}
