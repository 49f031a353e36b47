//! Texts as bodies, and whatever else is too large to stand in a job's own record.

use std::{convert::Infallible, fs};

use futures::stream;
use gristmill_testkit::{Answer, Http};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::stand::{max_text_bytes, unique};

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata");
/// Where a payload or a result is kept apart from its job.
const LARGE: usize = 64 << 10;

async fn send(http: &Http, query: &str, text: impl Into<Body>) -> Answer {
    let call = format!("/jobs?type=word_count{query}");
    Answer::of(http.call(Method::POST, &call).header("Content-Type", "text/plain").body(text)).await
}

/// A body of unknown length, sent in pieces.
fn pieces(piece: String, count: usize) -> Body {
    Body::wrap_stream(stream::iter((0..count).map(move |_| Ok::<_, Infallible>(piece.clone()))))
}

pub(crate) async fn a_book_is_streamed_and_counted(http: Http) {
    let book = fs::read(format!("{TESTDATA}/books/opticks.txt")).expect("the book");
    let expected = fs::read_to_string(format!("{TESTDATA}/expected.json")).expect("what is expected");
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    let accepted = send(&http, "&priority=high&tags=a,b", book).await.expect(202);
    assert_eq!((&accepted.json["priority"], &accepted.json["tags"]), (&json!("high"), &json!(["a", "b"])));
    let job = http.ended(&accepted.id()).await;
    assert_eq!((&job["state"], &job["progress"]["percent"]), (&json!("succeeded"), &json!(100)), "{job}");
    let expected = expected["counts"]["books/opticks.txt"].as_object().expect("the book is in there");
    for (field, value) in expected {
        assert_eq!(job["result"][field], *value, "{field}");
    }
}

pub(crate) async fn a_large_text_of_unknown_length_is_counted(http: Http) {
    let id = send(&http, "&payload=%7B%22top%22%3A0%7D", pieces("word ".repeat(2_000), 500)).await.expect(202).id();
    let job = http.ended(&id).await;
    assert_eq!((&job["result"]["words"], &job["result"]["bytes"]), (&json!(1_000_000), &json!(5_000_000)), "{job}");
    let empty = send(&http, "", "").await.expect(202).id();
    assert_eq!(http.ended(&empty).await["result"]["words"], 0);
}

pub(crate) async fn texts_that_are_refused_leave_nothing(http: Http) {
    let tag = unique("tag");
    let query = format!("&tags={tag}");
    let mut broken = vec![b'a'; 200_000];
    broken[150_000] = 0xff;
    let refused = send(&http, &query, broken).await.refused(422, "invalid_utf8");
    assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("150000")), "{}", refused.text);
    let too_large = vec![b'a'; max_text_bytes() + 1];
    send(&http, &query, too_large).await.refused(413, "payload_too_large");
    send(&http, &format!("{query}&colour=red"), "a").await.refused(422, "invalid_query").at("?colour");
    let not_taken = http.call(Method::POST, &format!("/jobs?type=sleep{query}")).header("Content-Type", "text/plain");
    Answer::of(not_taken.body("a")).await.refused(422, "text_not_accepted");
    assert!(http.get(&format!("/jobs?tag={tag}")).await.expect(200).items().is_empty());
}

pub(crate) async fn a_large_payload_and_a_large_result_are_kept_whole(http: Http) {
    // A thousand different words of a hundred letters: more than fits beside a job, both ways.
    let text: String = (0..1_000).map(|n| format!("{n:0100} ")).collect();
    let id = http.submit(json!({"type": "word_count", "payload": {"text": text, "top": 1_000}})).await;
    let job = http.ended(&id).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("succeeded"), &Value::Null), "{job}");
    let result = http.get(&format!("/jobs/{id}/result")).await.expect(200);
    assert!(result.text.len() > LARGE);
    assert_eq!(result.json["top_words"].as_array().map(Vec::len), Some(1_000));
    let whole = http.get(&format!("/jobs/{id}?include=payload")).await.expect(200);
    assert_eq!(whole.json["payload"]["text"], json!(text));
    // Erased with all that belongs to it.
    let _ = http.send(Method::DELETE, &format!("/jobs/{id}")).await.expect(204);
    http.get(&format!("/jobs/{id}/result")).await.refused(404, "job_not_found");
}
