//! Blobs.

use std::sync::Arc;

use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, Timestamp,
    job::{JobKey, Limits},
};

use super::{Backend, at, claim_of, get, insert, job};
use crate::{Store, StoreError};

async fn upload(store: &Arc<dyn Store>, owner: &JobKey, chunks: &[&'static [u8]], expires: Timestamp) -> BlobId {
    let id = BlobId::fresh();
    store.begin_blob(id, owner, expires).await.expect("a blob");
    for chunk in chunks {
        assert!(store.append_blob(id, Bytes::from_static(chunk), expires).await.expect("an answer"));
    }
    id
}

async fn is_there(store: &Arc<dyn Store>, id: BlobId) -> bool {
    store.read_blob(id, 0).await.expect("an answer").is_some()
}

/// From wherever one begins, the chunks put together are the rest of the blob.
pub async fn a_blob_is_read_from_any_byte(backend: &dyn Backend) {
    let store = backend.open().await;
    let chunks: [&[u8]; 4] = [b"once upon", b" ", b"", b"a time"];
    let id = upload(&store, &job(at(0)).job.key, &chunks, at(1_000)).await;
    let blob = store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    let whole = chunks.concat();
    assert_eq!(blob.bytes, whole.len() as u64);
    for from in 0..=whole.len() {
        let mut read = whole[..from].to_vec();
        while let Some(chunk) = store.read_blob(id, read.len() as u64).await.expect("an answer") {
            assert!(!chunk.is_empty(), "every chunk leads on");
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, whole, "from byte {from}");
    }
    assert_eq!(store.read_blob(id, u64::MAX).await.expect("an answer"), None);
    assert_eq!(store.read_blob(BlobId::fresh(), 0).await.expect("an answer"), None);
}

/// A committed blob takes neither a chunk nor a second commit.
pub async fn a_blob_is_committed_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let id = upload(&store, &job(at(0)).job.key, &[b"all"], at(1_000)).await;
    let blob = store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    assert_eq!(blob.bytes, 3);
    assert!(!store.append_blob(id, Bytes::from_static(b"more"), at(2_000)).await.expect("an answer"));
    assert!(store.commit_blob(id, at(2)).await.expect("an answer").is_none());
    assert_eq!(store.read_blob(id, 0).await.expect("an answer"), Some(Bytes::from_static(b"all")));
}

/// An upload that is not continued in time is collected, and what comes late is refused; a chunk renews it.
pub async fn an_expired_upload_is_collected_and_takes_no_more(backend: &dyn Backend) {
    let store = backend.open().await;
    let owner = job(at(0)).job.key;
    let slow = upload(&store, &owner, &[b"a"], at(100)).await;
    let steady = upload(&store, &owner, &[b"b"], at(100)).await;
    assert_eq!(store.collect_blobs(at(99), at(0), 10).await.expect("an answer"), 0);
    assert!(store.append_blob(steady, Bytes::from_static(b"b"), at(200)).await.expect("an answer"));
    assert_eq!(store.collect_blobs(at(100), at(0), 10).await.expect("an answer"), 1);
    assert!(!store.append_blob(slow, Bytes::from_static(b"a"), at(300)).await.expect("an answer"));
    assert!(store.commit_blob(slow, at(101)).await.expect("an answer").is_none());
    assert!(!is_there(&store, slow).await);
    assert!(store.commit_blob(steady, at(101)).await.expect("an answer").is_some());
    assert!(!store.append_blob(BlobId::fresh(), Bytes::new(), at(300)).await.expect("an answer"));
}

/// A committed blob is collected after a while if no job names it, and never while one does.
pub async fn orphans_are_collected_and_named_blobs_are_kept(backend: &dyn Backend) {
    let store = backend.open().await;
    let (mut by_payload, mut by_text, lost) = (job(at(0)), job(at(0)), job(at(0)));
    let mut blobs = Vec::new();
    for owner in [&by_payload, &by_text, &lost] {
        let id = upload(&store, &owner.job.key, &[b"book"], at(1_000)).await;
        blobs.push(store.commit_blob(id, at(10)).await.expect("an answer").expect("it is there"));
    }
    by_payload.payload = Body::Blob(blobs[0]);
    by_text.text = Some(Body::Blob(blobs[1]));
    insert(&store, [by_payload, by_text]).await;
    assert_eq!(store.collect_blobs(at(5_000), at(10), 10).await.expect("an answer"), 0);
    assert_eq!(store.collect_blobs(at(5_000), at(11), 10).await.expect("an answer"), 1);
    assert!(!is_there(&store, blobs[2].id).await);
    assert!(is_there(&store, blobs[0].id).await && is_there(&store, blobs[1].id).await);
    assert_eq!(store.collect_blobs(at(5_000), at(4_000), 10).await.expect("an answer"), 0);
}

/// Whatever they are, dropped blobs are gone, and others stay.
pub async fn dropped_blobs_are_gone(backend: &dyn Backend) {
    let store = backend.open().await;
    let owner = job(at(0)).job.key;
    let uploading = upload(&store, &owner, &[b"a"], at(100)).await;
    let committed = upload(&store, &owner, &[b"b"], at(100)).await;
    let kept = upload(&store, &owner, &[b"c"], at(100)).await;
    store.commit_blob(committed, at(1)).await.expect("an answer").expect("it is there");
    store.drop_blobs(&[uploading, committed, BlobId::fresh()]).await.expect("an answer");
    assert!(!is_there(&store, uploading).await && !is_there(&store, committed).await);
    assert!(store.commit_blob(uploading, at(2)).await.expect("an answer").is_none());
    assert!(store.commit_blob(kept, at(2)).await.expect("an answer").is_some());
}

/// A blob that a job names is kept, even if it is dropped by one who does not know that.
pub async fn a_blob_that_a_job_names_is_not_dropped(backend: &dyn Backend) {
    let store = backend.open().await;
    let (mut by_text, mut by_result) = (job(at(0)), job(at(0)));
    let mut blobs = Vec::new();
    for owner in [&by_text, &by_result] {
        let id = upload(&store, &owner.job.key, &[b"book"], at(1_000)).await;
        blobs.push(store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there"));
    }
    by_text.text = Some(Body::Blob(blobs[0]));
    by_result.job.queue = "other".parse().expect("a name");
    let key = by_result.job.key.clone();
    insert(&store, [by_text, by_result]).await;
    let claimed = store.claim(claim_of(&[key], at(1))).await.expect("a claim").remove(0).job;
    let settle = claimed.succeed(Body::Blob(blobs[1]), at(2), &Limits::default()).expect("it runs");
    assert!(store.apply(vec![settle]).await.expect("an answer")[0].is_some());
    store.drop_blobs(&[blobs[0].id, blobs[1].id]).await.expect("an answer");
    assert!(is_there(&store, blobs[0].id).await && is_there(&store, blobs[1].id).await);
}

/// A job is not stored with a blob that is not there to be read, nor does it end with one as its result.
pub async fn a_job_never_names_a_blob_that_is_gone(backend: &dyn Backend) {
    let store = backend.open().await;
    let owner = job(at(0));
    let uploading = upload(&store, &owner.job.key, &[b"book"], at(1_000)).await;
    let collected = upload(&store, &owner.job.key, &[b"book"], at(1_000)).await;
    store.commit_blob(collected, at(1)).await.expect("an answer").expect("it is there");
    assert_eq!(store.collect_blobs(at(10), at(2), 10).await.expect("an answer"), 1);
    let running = job(at(0));
    insert(&store, [running.clone()]).await;
    let claim = claim_of(std::slice::from_ref(&running.job.key), at(1));
    let claimed = store.claim(claim).await.expect("a claim").remove(0).job;
    for id in [uploading, collected, BlobId::fresh()] {
        let body = Body::Blob(BlobRef { id, bytes: 4 });
        let mut new = owner.clone();
        new.text = Some(body.clone());
        let refused = store.insert(vec![new]).await.expect_err("the blob is not there");
        assert!(matches!(&refused, StoreError::UploadExpired(expired) if *expired == id), "{refused:?}");
        assert!(store.get(&owner.job.key).await.expect("an answer").is_none());
        let settle = claimed.succeed(body, at(2), &Limits::default()).expect("it runs");
        let refused = store.apply(vec![settle]).await.expect_err("the blob is not there");
        assert!(matches!(&refused, StoreError::UploadExpired(expired) if *expired == id), "{refused:?}");
        assert_eq!(get(&store, &running.job.key).await, claimed);
    }
    assert!(store.counts(None).await.expect("counts").iter().map(|cell| cell.count).sum::<u64>() == 1);
}

/// A collection takes at most as many as it is told to.
pub async fn collecting_is_bounded(backend: &dyn Backend) {
    let store = backend.open().await;
    let owner = job(at(0)).job.key;
    for n in 0..7 {
        let id = upload(&store, &owner, &[b"x"], at(100)).await;
        if n % 2 == 0 {
            store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
        }
    }
    let mut collected = Vec::new();
    for _ in 0..4 {
        collected.push(store.collect_blobs(at(500), at(500), 3).await.expect("an answer"));
    }
    assert_eq!(collected, [3, 3, 1, 0]);
}
