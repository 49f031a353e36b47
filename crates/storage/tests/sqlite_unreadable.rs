//! Rows that cannot be read, because somebody has edited them: they are left out of what is about many jobs, and stop
//! nobody else.

use std::{path::Path, sync::Arc};

use gristmill_common::{
    Clock, State, Tenant,
    job::{Job, JobKey, NewJob},
};
use gristmill_storage::{
    DueScan, Expect, RegisterKey, Space, Store, StoreError, Swap,
    conformance::{at, claim_of, insert, job},
};
use rusqlite::Connection;

async fn open(folder: &Path) -> Arc<dyn Store> {
    let url = format!("sqlite://{}", folder.display());
    gristmill_storage::open(&url, &Clock::start()).await.expect("the store opens").store
}

/// Edits the rows of these jobs, so that nobody can read them any more.
fn spoil(folder: &Path, jobs: &[NewJob], edit: &str) {
    let conn = Connection::open(folder.join("gristmill.db")).expect("a database");
    for new in jobs {
        let spoilt = conn.execute(edit, [new.job.key.id.as_bytes()]).expect("an edit");
        assert_eq!(spoilt, 1);
    }
}

fn jobs_of(state: State, seconds: impl IntoIterator<Item = u64>) -> Vec<NewJob> {
    let one = |second| {
        let mut new = job(at(second));
        (new.job.state, new.job.wake_at, new.job.deadline) = (state, at(second), Some(at(second)));
        new
    };
    seconds.into_iter().map(one).collect()
}

fn keys(jobs: &[NewJob]) -> Vec<JobKey> {
    jobs.iter().map(|new| new.job.key.clone()).collect()
}

fn keys_of<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<JobKey> {
    jobs.into_iter().map(|job| job.key.clone()).collect()
}

#[tokio::test]
async fn a_batch_goes_on_without_a_job_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let jobs = jobs_of(State::Queued, [0, 0, 0, 0]);
    insert(&store, jobs.clone()).await;
    drop(store);
    spoil(folder.path(), &jobs[1..2], "UPDATE jobs SET priority = 9 WHERE id = ?1");
    let lost = "DELETE FROM payloads WHERE job = (SELECT n FROM jobs WHERE id = ?1)";
    spoil(folder.path(), &jobs[2..3], lost);
    let store = open(folder.path()).await;
    let waiting = store.waiting(&keys(&jobs)).await.expect("an answer");
    assert_eq!(keys_of(&waiting), keys(&[jobs[0].clone(), jobs[2].clone(), jobs[3].clone()]));
    let claim = claim_of(&keys(&jobs), at(1));
    let lease = claim.lease;
    let readable = keys(&[jobs[0].clone(), jobs[3].clone()]);
    let claimed = store.claim(claim).await.expect("a claim");
    assert_eq!(keys_of(claimed.iter().map(|claimed| &claimed.job)), readable);
    let held = store.held(lease, &keys(&jobs)).await.expect("an answer");
    assert_eq!(keys_of(held.iter().map(|held| &held.job)), readable);
    // Asked for by itself, it tells what is wrong.
    let error = store.get(&jobs[1].job.key).await.expect_err("nobody can read it");
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("priority")), "{error:?}");
}

#[tokio::test]
async fn a_scan_gets_past_what_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let spoilt = jobs_of(State::Scheduled, [0, 0, 0, 1, 1, 2, 4]);
    let fine = jobs_of(State::Scheduled, [1, 3, 4, 5]);
    insert(&store, spoilt.iter().chain(&fine).cloned().collect::<Vec<_>>()).await;
    drop(store);
    spoil(folder.path(), &spoilt, "UPDATE jobs SET backoff = 'presto' WHERE id = ?1");
    let store = open(folder.path()).await;
    for limit in 0..5 {
        let scan = DueScan { state: State::Scheduled, lane: None, until: at(99), after: None, limit };
        let due = store.due(&scan).await.expect("a scan");
        assert_eq!(keys_of(&due), keys(&fine[..limit]));
        let overdue = store.overdue(at(99), limit).await.expect("a scan");
        assert_eq!(keys_of(&overdue), keys(&fine[..limit]));
    }
}

#[tokio::test]
async fn a_register_that_cannot_be_read_hides_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let key = |name: &str| RegisterKey { space: Space::Schedule, tenant: Tenant::default(), name: name.into() };
    let swap = |name: &str| Swap { key: key(name), expect: Expect::Absent, to: Some(("a".into(), Some(at(0)))) };
    store.swap(["a", "b", "c", "d", "e"].map(swap).into()).await.expect("an answer");
    drop(store);
    let conn = Connection::open(folder.path().join("gristmill.db")).expect("a database");
    for spoil in [
        "UPDATE registers SET json = '{' WHERE key LIKE 'schedule/%/a'",
        "UPDATE registers SET version = 'presto' WHERE key LIKE 'schedule/%/b'",
        "UPDATE registers SET key = replace(key, '/d', '') WHERE key LIKE 'schedule/%/d'",
    ] {
        assert_eq!(conn.execute(spoil, []).expect("an edit"), 1);
    }
    drop(conn);
    let store = open(folder.path()).await;
    for limit in 0..4 {
        let fine = &[key("c"), key("e")][..limit.min(2)];
        let due = store.due_registers(at(9), None, limit).await.expect("an answer");
        assert_eq!(due.into_iter().map(|register| register.key).collect::<Vec<_>>(), fine);
        let listed = store.list_registers(Space::Schedule, None, None, limit).await.expect("an answer");
        assert_eq!(listed.into_iter().map(|register| register.key).collect::<Vec<_>>(), fine);
    }
    // Asked for by itself, it tells what is wrong.
    let error = store.registers(&[key("a")]).await.expect_err("nobody can read it");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}
