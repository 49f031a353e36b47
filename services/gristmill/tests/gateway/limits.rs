//! Limits for each address: off unless they are switched on.

use gristmill_testkit::{Gateway, GatewayBuilder};
use reqwest::{Client, Response, StatusCode};

use crate::{
    fake::{Fake, Manner},
    gateway, problem,
};

/// What three hundred requests at once are answered.
async fn burst(gateway: &Gateway) -> Vec<Response> {
    let http = Client::new();
    let asked: Vec<_> = (0..300).map(|_| tokio::spawn(http.get(gateway.api("/jobs")).send())).collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.expect("not cancelled").expect("an answer"));
    }
    answers
}

#[tokio::test]
async fn nothing_is_limited_by_default() {
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([fake.url.as_str()]).await;
    assert!(burst(&gateway).await.iter().all(|answer| answer.status() == StatusCode::OK));
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_and_not_passed_on() {
    let fake = Fake::start(Manner::Answers).await;
    // Slower than any machine that runs this is fast.
    let slow = ("limits.conf", "rate=50r/s", "rate=1r/m");
    let builder = GatewayBuilder::new([&fake.url]).with_limits().with_edit(slow.0, slow.1, slow.2);
    let gateway = builder.start().await.expect("a gateway");
    let (good, refused): (Vec<_>, Vec<_>) =
        burst(&gateway).await.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert_eq!((good.len(), refused.len()), (101, 199), "one, and the burst");
    assert_eq!(fake.requests(), 101);
    for answer in refused {
        assert_eq!(answer.headers()["retry-after"], "1");
        problem(answer, 429, "rate_limited").await;
    }
}

#[tokio::test]
async fn requests_in_flight_are_limited_too() {
    let fake = Fake::start(Manner::Hangs).await;
    let few = ("limits.conf", "limit_conn gateway_connections 256;", "limit_conn gateway_connections 2;");
    let builder = GatewayBuilder::new([&fake.url]).with_limits().with_edit(few.0, few.1, few.2);
    let gateway = builder.start().await.expect("a gateway");
    let http = Client::new();
    let waiting: Vec<_> = (0..2).map(|_| tokio::spawn(http.get(gateway.api("/jobs")).send())).collect();
    gristmill_testkit::eventually("both are in flight", || async { (fake.requests() == 2).then_some(()) }).await;
    problem(http.get(gateway.api("/jobs")).send().await.expect("an answer"), 429, "rate_limited").await;
    waiting.iter().for_each(|request| request.abort());
}
