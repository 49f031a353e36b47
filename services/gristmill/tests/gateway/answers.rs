//! What clients see of the gateway itself: ids, errors, what is hidden, and its log.

use gristmill_testkit::{Gateway, eventually};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::{
    check,
    fake::{Fake, Manner, refusing},
    gateway, problem, raw, replica,
};

/// The line of the access log about a request.
async fn line(gateway: &Gateway, id: &str) -> Value {
    eventually("the line is in the log", || async {
        let log = std::fs::read_to_string(gateway.access_log()).expect("a log");
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("every line is JSON"));
        lines.into_iter().find(|line| line["request_id"] == id)
    })
    .await
}

#[tokio::test]
async fn a_requests_id_is_the_clients_or_a_fresh_one_everywhere() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let http = Client::new();
    let ask = |id: &str| http.get(gateway.api("/jobs?tag=secret")).header("X-Request-Id", id.to_owned()).send();
    let id_of = |answer: &reqwest::Response| {
        assert_eq!(answer.headers().get_all("x-request-id").iter().count(), 1);
        answer.headers()["x-request-id"].to_str().expect("text").to_owned()
    };

    for own in ["abc-1", "with\"quote\\s", &"x".repeat(128)] {
        assert_eq!(id_of(&ask(own).await.expect("an answer")), own);
        assert!(fake.text().contains(&format!("X-Request-Id: {own}\r\n")), "{}", fake.text());
    }
    let logged = line(&gateway, "abc-1").await;
    assert_eq!((&logged["status"], &logged["method"]), (&"200".into(), &"GET".into()));
    assert_eq!((&logged["path"], &logged["route"]), (&"/api/v1/jobs".into(), &"@plain".into()));
    assert_eq!(format!("http://{}", logged["upstream"].as_str().expect("text")), fake.url);
    assert_eq!(logged["upstream_status"], "200");
    assert!(logged["seconds"].as_f64().is_some() && logged["response_bytes"].as_u64().is_some());
    assert!(!logged.to_string().contains("secret"), "queries are not logged");

    for bad in ["a b", &"x".repeat(129)] {
        let fresh = id_of(&ask(bad).await.expect("an answer"));
        assert!(fresh.starts_with("req_") && fresh.len() == 36, "{fresh}");
        assert!(fake.text().contains(&format!("X-Request-Id: {fresh}\r\n")));
        line(&gateway, &fresh).await;
    }
    let first = id_of(&http.get(gateway.api("/jobs")).send().await.expect("an answer"));
    let second = id_of(&http.get(gateway.api("/jobs")).send().await.expect("an answer"));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_replica_is_told_who_asks_and_cannot_be_told_lies() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = "GET /api/v1/jobs/a%2Fb?q=%20 HTTP/1.1\r\nHost: Jobs.Example:81\r\nConnection: close\r\n\
                   Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n";
    raw::ask(&gateway, &format!("{request}traceparent: {trace}\r\n\r\n")).await;
    let seen = format!("\r\n{}", fake.text());
    for line in [
        "GET /api/v1/jobs/a%2Fb?q=%20 HTTP/1.1",
        "Host: Jobs.Example:81",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: Jobs.Example:81",
        "X-Forwarded-Proto: http",
        &format!("traceparent: {trace}"),
    ] {
        assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line}: {seen}");
    }
    assert!(!seen.contains("6.6.6.6"), "{seen}");
}

#[tokio::test]
async fn metrics_and_the_gateways_own_addresses_are_hidden() {
    let replica = replica().await;
    let gateway = gateway([replica.server.url()]).await;
    for address in ["/metrics", "//metrics", "/%6Detrics", "/x/../metrics", "/metrics?x=1", "/.gateway/problem"] {
        // As it stands here: a client library would tidy it up.
        let request = format!("GET {address} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
        let (status, problem) = raw::problem(&raw::ask(&gateway, &request).await);
        assert_eq!(status, 404, "{address}");
        check(&problem, 404, "not_found");
    }
    let unknown = reqwest::get(format!("{}/nowhere", gateway.url())).await.expect("an answer");
    problem(unknown, 404, "not_found").await;
    let document = reqwest::get(format!("{}/openapi.json", gateway.url())).await.expect("an answer");
    assert_eq!(document.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_gateway_lives_without_replicas_and_is_ready_with_them() {
    let replica = replica().await;
    let (_closed, refused) = refusing();
    let mut gateway = gateway([refused.as_str()]).await;
    let health = |what: &str| format!("{}/health/{what}", gateway.url());
    let (live, ready) = (health("live"), health("ready"));
    let get = async |address: &str| reqwest::get(address).await.expect("an answer");
    assert_eq!(get(&live).await.json::<Value>().await.expect("json")["status"], "live");
    problem(get(&ready).await, 502, "bad_gateway").await;
    gateway.reload([replica.server.url()]).await.expect("reloaded");
    assert_eq!(get(&ready).await.json::<Value>().await.expect("json")["status"], "ready");
}

#[tokio::test]
async fn errors_of_the_gateway_have_the_shape_of_the_apis() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    let ask = async |lines: &str| raw::problem(&raw::ask(&gateway, &format!("{lines}\r\n\r\n")).await);
    let long = "x".repeat(40_000);
    for (request, status, code) in [
        ("POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 67108865".to_owned(), 413, "payload_too_large"),
        (format!("GET /api/v1/jobs?tag={long} HTTP/1.1\r\nHost: a"), 431, "headers_too_large"),
        (format!("GET /api/v1/jobs HTTP/1.1\r\nHost: a\r\nX-Long: {long}"), 431, "headers_too_large"),
        ("GET /api/v1/jobs HTTP/1.1".to_owned(), 400, "bad_request"),
        ("GET /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: many".to_owned(), 400, "bad_request"),
        ("this is not http".to_owned(), 400, "bad_request"),
        ("GET /%zz HTTP/1.1\r\nHost: a".to_owned(), 400, "bad_request"),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close".to_owned(), 405, "method_not_allowed"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip".to_owned(), 501, "not_implemented"),
        ("GET / HTTP/2.5\r\nHost: a".to_owned(), 505, "not_implemented"),
    ] {
        let start = &request[..request.len().min(60)];
        let (answered, problem) = ask(&request).await;
        assert_eq!(answered, status, "{start}");
        check(&problem, status, code);
        assert!(problem.request_id.starts_with("req_"), "{start}: {problem:?}");
    }
    assert_eq!(fake.connections(), 0, "none of it was passed on");

    // An id that JSON would have to escape is in the header alone.
    let odd = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: a\"b\\";
    assert_eq!(ask(odd).await.1.request_id, "");
    let trace = Client::new().request(Method::HEAD, format!("{}/metrics", gateway.url())).send();
    assert_eq!(trace.await.expect("an answer").status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_long_list_is_compressed_for_those_who_ask() {
    let replica = replica().await;
    let gateway = gateway([replica.server.url()]).await;
    let get = || Client::new().get(format!("{}/openapi.json", gateway.url()));
    let plain = get().send().await.expect("an answer");
    assert!(!plain.headers().contains_key("content-encoding"));
    let small = get().header("Accept-Encoding", "gzip").send().await.expect("an answer");
    assert_eq!(small.headers()["content-encoding"], "gzip");
    let (plain, small) = (plain.bytes().await.expect("a body").len(), small.bytes().await.expect("a body").len());
    assert!(small * 4 < plain, "{small} of {plain}");
}
