//! A request is passed on to another replica only where repeating it is safe.

use gristmill_testkit::GatewayBuilder;
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::{
    fake::{Fake, Manner, refusing},
    gateway, problem, sleep,
};

/// How many of two replicas that fail in this manner get to see a request, and how it is answered.
async fn seen_by(manner: Manner, request: impl FnOnce(&Client, &str) -> RequestBuilder) -> (usize, reqwest::Response) {
    let (one, two) = (Fake::start(manner).await, Fake::start(manner).await);
    let short = ("gristmill.conf", "proxy_read_timeout 30s;", "proxy_read_timeout 1s;");
    let builder = GatewayBuilder::new([&one.url, &two.url]).with_edit(short.0, short.1, short.2);
    let gateway = builder.start().await.expect("a gateway");
    let answer = request(&Client::new(), &gateway.url()).send().await.expect("an answer");
    (one.requests() + two.requests(), answer)
}

fn submission(http: &Client, url: &str) -> RequestBuilder {
    http.post(format!("{url}/api/v1/jobs")).json(&sleep(1))
}

#[tokio::test]
async fn a_post_whose_replica_died_with_it_is_not_sent_again() {
    let (seen, answer) = seen_by(Manner::Dies, submission).await;
    assert!(answer.headers().contains_key("retry-after"));
    problem(answer, 502, "bad_gateway").await;
    assert_eq!(seen, 1);

    let (seen, answer) = seen_by(Manner::Dies, |http, url| {
        http.post(format!("{url}/api/v1/jobs?type=word_count")).header("Content-Type", "text/plain").body("to be")
    })
    .await;
    problem(answer, 502, "bad_gateway").await;
    assert_eq!(seen, 1, "a text");
}

#[tokio::test]
async fn a_post_without_an_answer_in_time_is_not_sent_again() {
    let (seen, answer) = seen_by(Manner::Hangs, submission).await;
    problem(answer, 504, "gateway_timeout").await;
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn a_submission_with_a_key_is_sent_again() {
    for call in ["jobs", "jobs/batch"] {
        let (seen, answer) = seen_by(Manner::Dies, |http, url| {
            http.post(format!("{url}/api/v1/{call}")).header("Idempotency-Key", "order-4711").json(&sleep(1))
        })
        .await;
        problem(answer, 502, "bad_gateway").await;
        assert_eq!(seen, 2, "{call}");
    }
}

#[tokio::test]
async fn a_key_does_nothing_for_what_does_not_take_it() {
    let (seen, _) = seen_by(Manner::Dies, |http, url| {
        http.post(format!("{url}/api/v1/jobs/job_1/retry")).header("Idempotency-Key", "k").body("{}")
    })
    .await;
    assert_eq!(seen, 1);
    let (seen, _) = seen_by(Manner::Dies, |http, url| {
        let text = http.post(format!("{url}/api/v1/jobs?type=word_count")).header("Content-Type", "text/plain");
        text.header("Idempotency-Key", "k").body("a text is gone once it was streamed")
    })
    .await;
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn what_is_idempotent_by_its_method_is_sent_again() {
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let (seen, answer) =
            seen_by(Manner::Dies, |http, url| http.request(method.clone(), format!("{url}/api/v1/queues/mail"))).await;
        assert_eq!((seen, answer.status()), (2, StatusCode::BAD_GATEWAY), "{method}");
    }
}

#[tokio::test]
async fn a_post_goes_past_a_replica_that_refuses_the_connection() {
    let (_closed, refused) = refusing();
    let fake = Fake::start(Manner::Answers).await;
    let gateway = gateway([refused.as_str(), fake.url.as_str()]).await;
    let http = Client::new();
    for _ in 0..8 {
        let answer = submission(&http, &gateway.url()).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    // A body that is streamed has not been touched either.
    for _ in 0..8 {
        let text = http.post(gateway.api("/jobs?type=word_count")).header("Content-Type", "text/plain");
        assert_eq!(text.body("to be").send().await.expect("an answer").status(), StatusCode::OK);
    }
    assert_eq!(fake.requests(), 16, "each once");
}

#[tokio::test]
async fn a_get_is_answered_by_the_replica_that_lives() {
    let (dies, answers) = (Fake::start(Manner::Dies).await, Fake::start(Manner::Answers).await);
    let gateway = gateway([dies.url.as_str(), answers.url.as_str()]).await;
    for _ in 0..40 {
        let answer = reqwest::get(gateway.api("/jobs")).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert!((1..10).contains(&dies.requests()), "after three failures it is left alone: {}", dies.requests());
}
