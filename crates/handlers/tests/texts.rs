//! `word_count` on the texts of `testdata/`, held against counts that were made without Gristmill.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use gristmill_common::{Clock, JobId, Tenant};
use gristmill_handlers::{Context, HandlerError, JobInfo, Text, built_in};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What `testdata/expect.py` printed, by file.
#[derive(Deserialize)]
struct Expected {
    counts: BTreeMap<String, Value>,
    invalid_utf8: BTreeMap<String, usize>,
}

fn read(file: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expected() -> Expected {
    serde_json::from_slice(&read("expected.json")).expect("it is what the script prints")
}

/// Runs `word_count` as a worker does, with the text as the body in chunks of a size.
fn count(text: &[u8], size: usize) -> Result<Value, HandlerError> {
    let chunks: Vec<_> = text.chunks(size).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let text = Text { bytes: text.len() as u64, chunks: stream::iter(chunks).boxed() };
    let info = JobInfo { id: JobId::fresh(), tenant: Tenant::default(), attempt: 1, trace: None };
    let (context, _) = Context::new(info, Clock::start(), CancellationToken::new(), 2, Some(text));
    let registry = built_in().expect("the built-in types are sound");
    let handler = registry.get(&"word_count".parse().expect("a name")).expect("it is built in");
    let result = futures::executor::block_on(handler.run(Bytes::from_static(b"{}"), context))?;
    Ok(serde_json::from_slice(&result).expect("a result is JSON"))
}

#[test]
fn every_text_counts_as_expected_however_it_is_torn() {
    let counts = expected().counts;
    assert!(counts.len() > 10 && counts.contains_key("books/opticks.txt"));
    for (file, expected) in counts {
        let text = read(&file);
        for size in [1, 7, 4096, 1 << 20] {
            assert_eq!(count(&text, size).as_ref(), Ok(&expected), "{file} in chunks of {size}");
        }
    }
}

#[test]
fn what_is_no_utf_8_is_refused_at_its_first_bad_byte() {
    let files = expected().invalid_utf8;
    assert!(files.len() > 5);
    for (file, offset) in files {
        for size in [1, 7, 4096] {
            let error = count(&read(&file), size).expect_err("it is no UTF-8");
            assert_eq!(error.code, "invalid_utf8");
            assert!(!error.retryable && error.message.ends_with(&format!("byte {offset}")), "{file}: {error}");
        }
    }
}
