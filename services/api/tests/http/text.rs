//! Texts as bodies: streamed, and nothing kept of what is refused.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Options, spawn, spawn_idle};

const WORDS: &str = "/api/v1/jobs?type=word_count";

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_counted_as_it_was_sent() {
    let stack = spawn().await;
    for (text, words, lines, characters) in
        [("", 0, 0, 0), ("to be\r\nor not\n", 4, 2, 14), ("\u{feff}a", 1, 0, 2), ("Ἀρχὴ 词语 👩‍👩‍👧", 3, 0, 13)]
    {
        let id = stack.post_text(WORDS, text).await.expect(202).json["id"].as_str().expect("an id").to_owned();
        let result = stack.ended(&id).await["result"].clone();
        let counted = [&result["words"], &result["lines"], &result["characters"], &result["bytes"]];
        assert_eq!(counted, [&json!(words), &json!(lines), &json!(characters), &json!(text.len())], "{text:?}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_text_is_streamed_and_its_fields_are_parameters() {
    let stack = spawn().await;
    let pieces = futures::stream::iter((0..300).map(|_| Ok::<_, std::io::Error>("word ".repeat(2_000))));
    let path = format!(
        "{WORDS}&priority=high&tags=a,b&tags=c&max_attempts=7&delay_ms=0&payload=%7B%22top%22%3A0%7D&backoff=%7B%22kind%22%3A%22none%22%7D"
    );
    let accepted = stack.post_text(&path, reqwest::Body::wrap_stream(pieces)).await.expect(202);
    assert_eq!(
        (&accepted.json["priority"], &accepted.json["tags"], &accepted.json["max_attempts"]),
        (&json!("high"), &json!(["a", "b", "c"]), &json!(7))
    );
    let id = accepted.json["id"].as_str().expect("an id");
    assert_eq!(accepted.header("location"), format!("/api/v1/jobs/{id}"));
    let job = stack.ended(id).await;
    assert_eq!((&job["result"]["words"], &job["result"]["bytes"]), (&json!(600_000), &json!(3_000_000)), "{job}");
    assert!(job["result"].get("top_words").is_none_or(|words| words.as_array().is_none_or(Vec::is_empty)), "{job}");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_leaves_nothing() {
    let mut options = Options { slots: 0, ..Options::default() };
    options.api.max_text_bytes = 300_000;
    let stack = options.spawn().await;
    let broken = |at: usize| {
        let mut text = vec![b'a'; 200_000];
        text[at] = 0xff;
        text
    };
    for at in [0, 65_536, 199_999] {
        let answer = stack.post_text(WORDS, broken(at)).await.refused(422, "invalid_utf8");
        assert!(
            answer.json["detail"].as_str().is_some_and(|detail| detail.contains(&at.to_string())),
            "{}",
            answer.text
        );
    }
    // A character that begins and does not end.
    stack.post_text(WORDS, &b"a\xe2\x82"[..]).await.refused(422, "invalid_utf8");
    stack.post_text(WORDS, vec![b'a'; 300_001]).await.refused(413, "payload_too_large");
    let pieces = futures::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 10_000])));
    stack.post_text(WORDS, reqwest::Body::wrap_stream(pieces)).await.refused(413, "payload_too_large");
    assert_eq!(stack.count().await, 0);
    stack.post_text(WORDS, vec![b'a'; 300_000]).await.expect(202);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_at_fault_are_named() {
    let stack = spawn_idle().await;
    for (query, code, pointer) in [
        ("", "invalid_query", "?type"),
        ("type=", "invalid_query", "?type"),
        ("type=word_count&type=word_count", "invalid_query", "?type"),
        ("type=word_count&colour=red", "invalid_query", "?colour"),
        ("type=word_count&priority=urgent", "invalid_query", "?priority"),
        ("type=word_count&delay_ms=soon", "invalid_query", "?delay_ms"),
        ("type=word_count&run_at=soon", "invalid_query", "?run_at"),
        ("type=word_count&payload=7", "invalid_query", "?payload"),
        ("type=word_count&payload=%7B", "invalid_query", "?payload"),
        ("type=word_count&payload=%7B%22top%22:1,%22top%22:2%7D", "invalid_query", "?payload"),
        ("type=word_count&backoff=%7B%22kind%22:%22odd%22%7D", "invalid_query", "?backoff"),
        ("type=word_count&payload=%7B%22top%22:-1%7D", "invalid_job", "?payload/top"),
        ("type=word_count&payload=%7B%22text%22:%22x%22%7D", "invalid_job", "?payload/text"),
        ("type=word_count&max_attempts=0", "invalid_job", "?max_attempts"),
        ("type=word_count&backoff=%7B%22kind%22:%22exponential%22,%22factor%22:0%7D", "invalid_job", "?backoff/factor"),
        ("type=nothing", "unknown_job_type", "?type"),
        ("type=word_count&queue=nowhere", "unknown_queue", "?queue"),
    ] {
        // Large enough that the answer comes while the text is still on its way.
        let text = "a".repeat(1_000_000);
        stack.post_text(&format!("/api/v1/jobs?{query}"), text).await.refused(422, code).at(pointer);
    }
    stack.post_text("/api/v1/jobs?type=sleep", "a").await.refused(422, "text_not_accepted");
    assert_eq!(stack.count().await, 0);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_covers_the_text_too() {
    let stack = spawn_idle().await;
    let send = |text: &'static str| {
        let request = stack.request(Method::POST, WORDS).header("content-type", "text/plain; charset=utf-8");
        Answer::of(request.header("idempotency-key", "k").body(text))
    };
    let first = send("one").await.expect(202);
    assert_eq!(send("one").await.expect(202).json["id"], first.json["id"]);
    send("two").await.refused(422, "idempotency_key_reused");
    assert_eq!(stack.count().await, 1);
    stack.stop().await;
}
