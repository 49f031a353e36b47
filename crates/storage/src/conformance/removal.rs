//! Erasing jobs.

use bytes::Bytes;
use gristmill_common::{BlobId, Body, Part, State, http::LogLine};

use super::{Backend, at, get, insert, job, text};
use crate::{JobFilter, ListQuery, Order, Removal};

/// A job that has changed since it was read is kept.
pub async fn a_job_is_erased_only_as_it_was_read(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    new.job.state = State::Succeeded;
    insert(&store, [new.clone()]).await;
    let removal = Removal { key: new.job.key.clone(), state: State::Succeeded, wake_at: at(0) };
    let stale = [
        Removal { state: State::Failed, ..removal.clone() },
        Removal { wake_at: at(1), ..removal.clone() },
        Removal { key: job(at(0)).job.key, ..removal.clone() },
    ];
    assert_eq!(store.remove(&stale).await.expect("an answer"), [false; 3]);
    assert_eq!(get(&store, &new.job.key).await, new.job);
    assert_eq!(store.remove(&[removal.clone(), removal]).await.expect("an answer"), [true, false]);
    assert!(store.get(&new.job.key).await.expect("an answer").is_none());
}

/// Bodies, blobs, log and places in lists go with a job; a job stored later under its key finds none of them.
pub async fn everything_of_a_job_goes_with_it(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    let key = new.job.key.clone();
    let id = BlobId::fresh();
    store.begin_blob(id, &key, at(1_000)).await.expect("a blob");
    for _ in 0..20 {
        let chunk = Bytes::from(vec![7; 100_000]);
        assert!(store.append_blob(id, chunk, at(1_000)).await.expect("an answer"));
    }
    let blob = store.commit_blob(id, at(1)).await.expect("an answer").expect("it is there");
    (new.job.state, new.job.failed_at, new.text) = (State::Failed, Some(at(1)), Some(Body::Blob(blob)));
    insert(&store, [new.clone()]).await;
    let line = LogLine { at: at(1), attempt: 1, message: "so far".into() };
    store.append_logs(vec![(key.clone(), line)]).await.expect("a log");

    let removal = Removal { key: key.clone(), state: State::Failed, wake_at: at(0) };
    assert_eq!(store.remove(&[removal]).await.expect("an answer"), [true]);
    assert!(store.get(&key).await.expect("an answer").is_none());
    assert_eq!(store.read_blob(id, 0).await.expect("an answer"), None);
    assert_eq!(store.body(&key, Part::Payload).await.expect("an answer"), None);
    assert!(store.counts(None).await.expect("counts").iter().all(|cell| cell.count == 0));
    for order in [Order::NewestFirst, Order::FailedNewestFirst] {
        let (tenant, filter) = (key.tenant.clone(), JobFilter::default());
        let query = ListQuery { tenant, filter, order, after: None, limit: 10, scan_limit: 10 };
        assert!(store.list(&query).await.expect("a page").jobs.is_empty());
    }

    let mut later = job(at(9));
    later.job.key = key.clone();
    later.payload = text("[1]");
    insert(&store, [later]).await;
    assert_eq!(store.body(&key, Part::Payload).await.expect("an answer"), Some(text("[1]")));
    assert_eq!(store.body(&key, Part::Text).await.expect("an answer"), None);
    assert!(store.logs(&key).await.expect("an answer").is_empty());
}
