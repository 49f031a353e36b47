//! `word_count` as a whole, against the plainest way to count.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use gristmill_common::{Clock, JobId, Tenant};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;
use unicode_segmentation::UnicodeSegmentation as _;

use super::*;
use crate::{JobInfo, Reports};

/// Text of characters that word boundaries hang on: letters, digits and what may stand between them, marks,
/// joiners, flags, emoji, Hebrew with its quotes, Katakana, ideographs, and white space of every sort.
pub(super) fn tricky(length: Range<usize>) -> impl Strategy<Value = String> {
    let plain = prop::sample::select(" \n\r\t abcA01_.:,;'\"-!".chars().collect::<Vec<_>>());
    let beyond = "\u{85}\u{A0}\u{2003}\u{2028}\u{3000}éßΣσא״カー道語。,निา\u{301}\u{308}\u{AD}\u{200D}\u{200B}\u{FE0F}\u{FEFF}·’․١٫ⓂℹⒶ❤👩🏽🇬🇷🛑ก";
    let beyond = prop::sample::select(beyond.chars().collect::<Vec<_>>());
    let character = prop_oneof![plain, beyond];
    prop::collection::vec(character, length).prop_map(|characters| characters.into_iter().collect())
}

fn context(text: Option<Text>, cancelled: &CancellationToken) -> (Context, Reports) {
    let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
    Context::new(info, Clock::start(), cancelled.clone(), 2, text)
}

fn in_chunks(text: &[u8], size: usize) -> Text {
    let chunks: Vec<_> = text.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Text { bytes: text.len() as u64, chunks: stream::iter(chunks).boxed() }
}

/// Counts a text sent as the body. Nothing here needs a runtime.
fn count(text: Text, top: u16) -> Result<Output, HandlerError> {
    let (context, _) = context(Some(text), &CancellationToken::new());
    futures::executor::block_on(WordCount.run(Input { text: None, top }, context))
}

/// The same, in the plainest way.
fn reference(text: &str, top: usize) -> Output {
    let mut counts = BTreeMap::new();
    for word in text.unicode_words().filter(|word| word.len() <= LONGEST_WORD) {
        *counts.entry(word.to_lowercase()).or_insert(0) += 1;
    }
    let unique_words = Some(counts.len() as u64);
    let mut top_words: Vec<_> = counts.into_iter().map(|(word, count)| TopWord { word, count }).collect();
    top_words.sort_by_key(|top| std::cmp::Reverse(top.count));
    top_words.truncate(top);
    Output {
        words: text.split_whitespace().count() as u64,
        lines: text.matches('\n').count() as u64,
        characters: text.chars().count() as u64,
        bytes: text.len() as u64,
        unique_words,
        top_words,
        vocabulary_truncated: text.unicode_words().any(|word| word.len() > LONGEST_WORD),
    }
}

/// Repeats a text until it is longer than a block.
fn large(text: &str) -> String {
    text.repeat(5 * blocks::MOST / 4 / text.len() + 1)
}

proptest! {
    #[test]
    fn torn_anywhere_it_counts_the_same(text in tricky(0..400), size in 1_usize..50) {
        prop_assert_eq!(count(in_chunks(text.as_bytes(), size), 5), Ok(reference(&text, 5)));
    }

    #[test]
    fn the_first_byte_that_is_no_utf_8_is_named(text in tricky(0..50), bad in prop::collection::vec(0x80_u8..=0xFF, 1..4), after in "[a-zé]{0,9}", size in 1_usize..20) {
        let bytes = [text.as_bytes(), &bad, after.as_bytes()].concat();
        let error = std::str::from_utf8(&bytes).err();
        prop_assume!(error.is_some());
        let message = format!("the text is not UTF-8 at byte {}", error.expect("it is not").valid_up_to());
        prop_assert_eq!(count(in_chunks(&bytes, size), 5), Err(HandlerError::fatal("invalid_utf8", message)));
    }
}

#[test]
fn large_texts_count_the_same_on_threads() {
    // Lines; words without a safe place; one endless word; ideographs; an endless run of marks; nothing but spaces.
    for part in
        ["It's a line, naïve\u{301} or not.\r\n", "ab-cd.é'", "acgt", "道可道。非常道", "\u{301}", " ", "a\u{93e}"]
    {
        let text = large(part);
        let expected = reference(&text, 10);
        for size in [60_001, 5_000_000] {
            assert_eq!(count(in_chunks(text.as_bytes(), size), 10).as_ref(), Ok(&expected), "{part:?} by {size}");
        }
    }
}

#[test]
fn a_bad_byte_far_inside_is_named() {
    let mut text = large("word ").into_bytes();
    text[1_200_001] = 0xFF;
    let error = count(in_chunks(&text, 100_000), 0).expect_err("it is no UTF-8");
    assert_eq!(error.message, "the text is not UTF-8 at byte 1200001");
}

#[test]
fn without_a_vocabulary_the_rest_is_the_same() {
    let text = "one two\ntwo é";
    let expected = Output { unique_words: None, top_words: vec![], ..reference(text, 0) };
    assert_eq!(count(Text::from(text.to_owned()), 0), Ok(expected));
}

#[tokio::test]
async fn a_text_comes_from_one_place() {
    let run = async |text: Option<&str>, body: Option<&str>| {
        let body = body.map(|body| Text::from(body.to_owned()));
        let input = Input { text: text.map(str::to_owned), top: 10 };
        WordCount.run(input, context(body, &CancellationToken::new()).0).await
    };
    assert_eq!(run(Some("a b"), None).await, Ok(reference("a b", 10)));
    assert_eq!(run(None, Some("a b")).await, Ok(reference("a b", 10)));
    assert_eq!(run(Some(""), None).await, Ok(reference("", 10)));
    for (text, body) in [(None, None), (Some("a"), Some("b"))] {
        assert_eq!(run(text, body).await.expect_err("no text, or two").code, "invalid_payload");
    }
}

#[test]
fn the_payload_is_checked() {
    let parse = serde_json::from_str::<Input>;
    assert_eq!(parse("{}").expect("both are optional").top, 10);
    for bad in [r#"{"text": 1}"#, r#"{"top": -1}"#, r#"{"top": 1.5}"#, r#"{"txet": ""}"#] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let (context, _) = context(Some(Text::from(String::new())), &CancellationToken::new());
    let ended = futures::executor::block_on(WordCount.run(Input { text: None, top: 1001 }, context));
    assert_eq!(ended.expect_err("too many").code, "invalid_payload");
}

#[test]
fn progress_is_reported() {
    let text = large("word ");
    let (context, reports) = context(None, &CancellationToken::new());
    let totals = pipeline::add_up(in_chunks(text.as_bytes(), 100_000), Totals::without_vocabulary(), &context);
    futures::executor::block_on(totals).expect("it is text");
    assert_eq!(reports.take().progress.map(|progress| progress.percent), Some(100));
}

#[tokio::test]
async fn it_stops_while_the_text_has_not_ended() {
    let cancelled = CancellationToken::new();
    let endless = stream::repeat(Ok(Bytes::from("word ".repeat(20_000)))).boxed();
    let (context, reports) = context(Some(Text { bytes: 50_000_000, chunks: endless }), &cancelled);
    let running = tokio::task::spawn_blocking(|| {
        futures::executor::block_on(WordCount.run(Input { text: None, top: 10 }, context))
    });
    // Stop it when it is under way.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while reports.take().progress.is_none() {
        assert!(std::time::Instant::now() < deadline, "it reports progress");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cancelled.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await.expect("it stops");
    assert_eq!(ended.expect("it does not panic"), Err(HandlerError::cancelled()));
}

#[tokio::test]
async fn it_stops_while_it_waits_for_text() {
    let cancelled = CancellationToken::new();
    let (context, _) = context(Some(Text { bytes: 9, chunks: stream::pending().boxed() }), &cancelled);
    let running = tokio::spawn(WordCount.run(Input { text: None, top: 10 }, context));
    cancelled.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), running).await.expect("it stops");
    assert_eq!(ended.expect("it does not panic"), Err(HandlerError::cancelled()));
}

#[test]
fn a_stream_that_fails_fails_the_attempt() {
    let failed = HandlerError::retryable("store_unavailable", "gone");
    let chunks = stream::iter([Ok(Bytes::from("a")), Err(failed.clone())]).boxed();
    assert_eq!(count(Text { bytes: 9, chunks }, 10), Err(failed));
}
