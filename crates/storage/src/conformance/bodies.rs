//! Bodies: opaque bytes.

use bytes::Bytes;
use gristmill_common::{BlobId, Body, INLINE_LIMIT, Part, job::Limits};

use super::{Backend, at, claim_of, insert, job};

fn samples() -> Vec<Bytes> {
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let texts = [
        "",
        "0",
        " { \"b\" : 1 , \"a\" : 1e400, \"b\" : 12345678901234567890123 } \r\n",
        "\u{feff}\"Ἐν ἀρχῇ — 道可道 — بسم — 👩\u{200d}👩\u{200d}👧 — e\u{301}\"",
        "\"\\u0000\\ud83d\\ude00\"\0",
        &deep,
        &"x".repeat(INLINE_LIMIT),
    ];
    let mut samples: Vec<Bytes> = texts.map(|text| Bytes::copy_from_slice(text.as_bytes())).into();
    samples.push((0..=255).collect());
    samples
}

/// Payloads, texts and results come back byte for byte, whether they are JSON or not.
pub async fn bodies_come_back_byte_for_byte(backend: &dyn Backend) {
    let store = backend.open().await;
    for bytes in samples() {
        let mut new = job(at(0));
        let key = new.job.key.clone();
        let body = Body::Inline(bytes);
        (new.payload, new.text) = (body.clone(), Some(body.clone()));
        insert(&store, [new]).await;
        let claimed = store.claim(claim_of(std::slice::from_ref(&key), at(1))).await.expect("a claim").remove(0);
        assert_eq!((&claimed.payload, claimed.text.as_ref()), (&body, Some(&body)));
        assert_eq!(store.body(&key, Part::Result).await.expect("an answer"), None);
        let settle = claimed.job.succeed(body.clone(), at(2), &Limits::default()).expect("it runs");
        store.apply(vec![settle]).await.expect("a change");
        for part in [Part::Payload, Part::Text, Part::Result] {
            assert_eq!(store.body(&key, part).await.expect("an answer"), Some(body.clone()), "{part:?}");
        }
        let found = store.get(&key).await.expect("an answer").expect("it is there");
        assert_eq!(found.result, Some(body));
    }
    let nobody = job(at(0)).job.key;
    assert_eq!(store.body(&nobody, Part::Payload).await.expect("an answer"), None);
}

/// A body of more than the limit is stored as a blob, and the job names it.
pub async fn a_large_body_is_a_blob(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    let key = new.job.key.clone();
    let bytes: Bytes = (0..INLINE_LIMIT + 1).map(|n| (n % 251) as u8).collect();
    let id = BlobId::fresh();
    store.begin_blob(id, &key, at(1_000)).await.expect("a blob");
    assert!(store.append_blob(id, bytes.clone(), at(1_000)).await.expect("an answer"));
    let blob = store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    assert_eq!((blob.id, blob.bytes), (id, bytes.len() as u64));
    new.payload = Body::Blob(blob);
    insert(&store, [new]).await;
    let claimed = store.claim(claim_of(std::slice::from_ref(&key), at(1))).await.expect("a claim").remove(0);
    assert_eq!(claimed.payload, Body::Blob(blob));
    assert_eq!(store.read_blob(id, 0).await.expect("an answer"), Some(bytes));
}
