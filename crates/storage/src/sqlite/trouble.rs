//! Tests of what can go wrong around a write.

use std::{sync::mpsc, time::Duration};

use bytes::Bytes;
use gristmill_common::{BlobId, State, job::NewJob};
use rusqlite::Connection;

use super::{SqliteStore, writer::Session};
use crate::{
    BlobStore, Inserted, JobStore, Removal, StoreError,
    bounds::Bounds,
    conformance::{at, job, text},
};

fn store(bounds: Bounds) -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open_with(folder.path(), bounds).expect("the store opens");
    (store, folder)
}

impl SqliteStore {
    /// Keeps the writer busy; it goes on when the sender is dropped.
    async fn block(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let blocked = self.writer.write(0, move |_| {
            let _ = begun.send(());
            let _ = released.recv();
            Ok(())
        });
        // The caller goes away at once; the operation does not.
        tokio::select! {
            biased;
            _ = blocked => unreachable!("it is not released yet"),
            begun = has_begun => begun.expect("it has begun"),
        }
        release
    }

    async fn is_stored(&self, new: &NewJob) -> bool {
        self.get(&new.job.key).await.expect("an answer").is_some()
    }
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_done_whole() {
    let (store, folder) = store(Bounds::default());
    let release = store.block().await;
    let jobs: Vec<NewJob> = (0..3).map(|n| job(at(n))).collect();
    {
        let insert = store.insert(jobs.clone());
        tokio::pin!(insert);
        tokio::select! {
            biased;
            _ = &mut insert => unreachable!("the writer is busy"),
            () = std::future::ready(()) => {}
        }
    }
    assert!(!store.is_stored(&jobs[0]).await);
    drop(release);
    // Closing the store waits for what it was handed.
    drop(store);
    let store = SqliteStore::open(folder.path()).expect("the store opens again");
    for new in &jobs {
        assert!(store.is_stored(new).await);
    }
}

#[tokio::test]
async fn a_store_that_stays_full_of_work_says_so() {
    let patience = Duration::from_millis(50);
    let (store, _folder) = store(Bounds { operations: 2, bytes: 1_000, patience });
    let release = store.block().await;
    let (first, second, third) = (job(at(0)), job(at(1)), job(at(2)));
    let (first_told, second_told, ()) = tokio::join!(
        biased;
        store.insert(vec![first.clone()]),
        store.insert(vec![second.clone()]),
        async {
            let told = store.insert(vec![third.clone()]).await;
            assert!(matches!(told, Err(StoreError::Overloaded)), "{told:?}");
            drop(release);
        }
    );
    assert!(matches!(first_told.expect("it had room")[..], [Inserted::Created]));
    assert!(matches!(second_told.expect("it had room")[..], [Inserted::Created]));
    assert!(!store.is_stored(&third).await, "what was refused was not written");

    // Bytes are bounded too: two of 600 do not fit, and one that is larger than all the room still passes.
    let release = store.block().await;
    let (mut large, mut second) = (job(at(3)), job(at(4)));
    (large.payload, second.payload) = (text(&"x".repeat(600)), text(&"x".repeat(5_000)));
    let (large_told, ()) = tokio::join!(biased; store.insert(vec![large]), async {
        let told = store.insert(vec![second.clone()]).await;
        assert!(matches!(told, Err(StoreError::Overloaded)), "{told:?}");
        drop(release);
    });
    large_told.expect("it had room");
    store.insert(vec![second]).await.expect("it has all the room");
}

#[tokio::test]
async fn an_operation_that_fails_is_undone_alone() {
    let (store, _folder) = store(Bounds::default());
    let release = store.block().await;
    let (before, broken, after) = (job(at(0)), job(at(1)), job(at(2)));
    let half_done = vec![broken.clone()];
    let failing = store.writer.write(0, move |session| {
        super::jobs_write::insert(session, &half_done)?;
        session.conn.execute("INSERT INTO leader (one, holder, until, json) VALUES (2, x'', 0, '')", [])?;
        Ok(())
    });
    // All three are in one transaction.
    let (first, failed, last, ()) = tokio::join!(
        biased;
        store.insert(vec![before.clone()]),
        failing,
        store.insert(vec![after.clone()]),
        async { drop(release) }
    );
    first.expect("it is stored");
    last.expect("it is stored");
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    assert!(store.is_stored(&before).await && store.is_stored(&after).await);
    assert!(!store.is_stored(&broken).await);
    let counts = store.counts(None).await.expect("counts");
    assert_eq!(counts.iter().map(|cell| cell.count).sum::<u64>(), 2, "the counts know only what is stored");
}

#[tokio::test]
async fn a_database_that_may_not_grow_refuses_writes_until_it_may() {
    let (store, _folder) = store(Bounds::default());
    let limit_pages = |conn: &Connection, pages: i64| -> Result<(), rusqlite::Error> {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    };
    store.writer.write(0, move |session| Ok(limit_pages(&session.conn, 60)?)).await.expect("a limit");
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    while refused.len() < 10 {
        let batch: Vec<NewJob> = (0..4).map(|n| NewJob { payload: text(&"x".repeat(3_000)), ..job(at(n)) }).collect();
        let answers = futures::future::join_all(batch.iter().map(|new| store.insert(vec![new.clone()]))).await;
        for (new, answer) in batch.into_iter().zip(answers) {
            match answer {
                Ok(_) => stored.push(new),
                Err(StoreError::OutOfSpace(_)) => refused.push(new),
                Err(error) => panic!("a full database is told as such, not as: {error:?}"),
            }
        }
        assert!(stored.len() < 1_000, "the limit holds");
    }
    store.writer.write(0, move |session| Ok(limit_pages(&session.conn, 100_000)?)).await.expect("a limit");
    let more = job(at(9));
    store.insert(vec![more.clone()]).await.expect("there is room again");
    stored.push(more);
    for new in &stored {
        assert!(store.is_stored(new).await);
    }
    for new in &refused {
        assert!(!store.is_stored(new).await);
    }
    let counts = store.counts(None).await.expect("counts");
    assert_eq!(counts.iter().map(|cell| cell.count).sum::<u64>(), stored.len() as u64);
}

#[tokio::test]
async fn blobs_are_dropped_at_once_and_erased_by_a_collection() {
    let (store, _folder) = store(Bounds::default());
    let (new, id) = (job(at(0)), BlobId::fresh());
    store.begin_blob(id, &new.job.key, at(100)).await.expect("a blob");
    for _ in 0..20 {
        assert!(store.append_blob(id, Bytes::from_static(b"book"), at(100)).await.expect("an answer"));
    }
    let chunks = async || -> i64 {
        let count = |conn: &Connection| Ok(conn.query_row("SELECT count(*) FROM chunks", [], |row| row.get(0))?);
        store.points.read(count).await.expect("a count")
    };
    store.drop_blobs(&[id]).await.expect("an answer");
    assert_eq!((store.read_blob(id, 0).await.expect("an answer"), chunks().await), (None, 20));
    assert_eq!(store.collect_blobs(at(1), at(0), 10).await.expect("an answer"), 0);
    assert_eq!(chunks().await, 0);
}

#[tokio::test]
async fn a_failed_sweep_does_not_belie_what_was_done() {
    let (store, _folder) = store(Bounds::default());
    let mut removed = job(at(0));
    removed.job.state = State::Succeeded;
    let key = removed.job.key.clone();
    for id in [BlobId::fresh(), BlobId::fresh()] {
        store.begin_blob(id, &key, at(100)).await.expect("a blob");
    }
    let dropped = BlobId::fresh();
    store.begin_blob(dropped, &job(at(0)).job.key, at(100)).await.expect("a blob");
    store.insert(vec![removed]).await.expect("a job");
    let break_sweeps = |session: &mut Session| Ok(session.conn.execute_batch("DROP TABLE chunks")?);
    store.writer.write(0, break_sweeps).await.expect("broken");
    store.drop_blobs(&[dropped]).await.expect("the blob is dropped");
    let removal = Removal { key, state: State::Succeeded, wake_at: at(0) };
    assert_eq!(store.remove(&[removal]).await.expect("the job is removed"), [true]);
    let expired = BlobId::fresh();
    store.begin_blob(expired, &job(at(0)).job.key, at(100)).await.expect("a blob");
    assert_eq!(store.collect_blobs(at(100), at(0), 10).await.expect("the upload is collected"), 1);
}
