//! Opening a data folder: what is made, what is refused, and that what is refused is left as it was.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use gristmill_common::{
    Clock, State, Timestamp,
    job::{Backoff, Concurrency, Gates},
};
use gristmill_storage::{
    Expect, Kind, Opened, RegisterKey, Space, StoreError, Swap,
    conformance::{at, claim_of, job, succeed, text},
};
use rusqlite::Connection;
use serde_json::json;

async fn open(folder: &Path) -> Result<Opened, StoreError> {
    gristmill_storage::open(&format!("sqlite://{}", folder.display()), &Clock::start()).await
}

async fn refused(folder: &Path) -> StoreError {
    open(folder).await.err().expect("the folder is refused")
}

#[tokio::test]
async fn a_missing_folder_is_made_for_its_owner_alone() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("new/data");
    drop(open(&folder).await.expect("the store opens"));
    let mode = fs::metadata(&folder).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(folder.join("gristmill.db").is_file() && folder.join("gristmill.lock").is_file());
    let log = fs::metadata(folder.join("gristmill.db-wal"));
    assert!(log.is_err(), "a store that was closed has its log in the database");
    drop(open(&folder).await.expect("it opens again"));
}

#[tokio::test]
async fn files_are_made_for_their_owner_alone_even_in_a_folder_that_is_open_to_all() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let _opened = open(folder.path()).await.expect("the store opens");
    for name in ["gristmill.lock", "gristmill.db", "gristmill.db-wal", "gristmill.db-shm"] {
        let mode = fs::metadata(folder.path().join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_until_it_is_let_go_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = open(folder.path()).await.expect("the store opens");
    assert!(matches!(refused(folder.path()).await, StoreError::InUse(_)));
    drop(opened);
    open(folder.path()).await.expect("it is free again");
}

#[tokio::test]
async fn a_file_that_is_no_database_of_ours_is_refused_and_left_alone() {
    let long: Vec<u8> = (0..100_000).map(|n| (n % 253) as u8).collect();
    for garbage in [&b"hello"[..], "Μῆνιν ἄειδε θεά\n".repeat(500).as_bytes(), &long] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gristmill.db");
        fs::write(&file, garbage).expect("a file");
        assert!(matches!(refused(folder.path()).await, StoreError::NotADatabase { .. }));
        assert_eq!(fs::read(&file).expect("a file"), garbage);
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    for theirs in ["CREATE TABLE notes (text)", "PRAGMA application_id = 42", "PRAGMA user_version = 3"] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gristmill.db");
        Connection::open(&file).and_then(|conn| conn.execute_batch(theirs)).expect("a database");
        let before = fs::read(&file).expect("a file");
        assert!(matches!(refused(folder.path()).await, StoreError::NotADatabase { .. }), "{theirs}");
        assert_eq!(fs::read(&file).expect("a file"), before, "{theirs}");
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_store() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gristmill.db"), b"").expect("a file");
    open(folder.path()).await.expect("the store opens");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()).await.expect("the store opens"));
    let conn = Connection::open(folder.path().join("gristmill.db")).expect("a database");
    conn.pragma_update(None, "user_version", 99).expect("a version");
    drop(conn);
    let error = refused(folder.path()).await;
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 2 }), "{error:?}");
}

/// A database as the first version made it, with a job that waits, one that runs, and one that is dead.
fn version_1(folder: &Path) {
    let conn = Connection::open(folder.join("gristmill.db")).expect("a database");
    conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).expect("a log");
    conn.execute_batch(include_str!("../src/sqlite/migrations/0001_jobs.sql")).expect("the first version");
    conn.execute_batch("PRAGMA application_id = 0x476d4a31; PRAGMA user_version = 1;").expect("the first version");
    let columns = "tenant, id, state, lane, wake_at, created_at, failed_at, deadline, job_type, queue, priority, \
         attempt, max_attempts, claims, rescues, rings, cancel_requested, version, timeout_ms, lease, worker, percent, \
         error, backoff, tags, history";
    let values = [
        "'a', x'00000000000000000000000000000001', 1, 'q/1/a', 1000, 500, NULL, 9000, 'sleep', 'q', 1, 0, 3, 0, 0, 0, 0, 1, 60000, \
         NULL, NULL, 0, NULL, '{\"kind\":\"fixed\",\"delay_ms\":7}', '[\"x\"]'",
        "'a', x'00000000000000000000000000000002', 2, '', 2000, 600, NULL, NULL, 'sleep', 'q', 0, 1, 3, 1, 0, 1, 1, 4, 60000, \
         zeroblob(16), zeroblob(16), 40, NULL, '{\"kind\":\"none\"}', NULL",
        "'b', x'00000000000000000000000000000003', 4, '', 3000, 700, 2500, NULL, 'sleep', 'q', 2, 3, 3, 3, 0, 1, 0, 9, 60000, \
         NULL, NULL, 0, '{\"code\":\"boom\",\"message\":\"it broke\",\"attempt\":3}', '{\"kind\":\"none\"}', NULL",
    ];
    let history = r#"'{"entries":[{"at":"1970-01-01T00:00:00.500Z","what":"created"}],"total":1}'"#;
    for values in values {
        let insert = format!("INSERT INTO jobs ({columns}) VALUES ({values}, {history})");
        conn.execute(&insert, []).expect("a job");
        let n = conn.last_insert_rowid();
        conn.execute("INSERT INTO payloads (job, bytes, length) VALUES (?1, CAST('{}' AS BLOB), 2)", [n])
            .expect("a payload");
    }
    conn.execute_batch(
        "INSERT INTO logs VALUES (2000, 1, 1, 'a line'); \
         INSERT INTO job_counts VALUES ('a', 'q', 1, 1), ('a', 'q', 2, 1), ('b', 'q', 4, 1); \
         INSERT INTO records VALUES ('queue', 'q', '{\"name\":\"q\"}');",
    )
    .expect("the rest");
}

async fn pending(folder: &Path) -> Vec<u32> {
    let url = format!("sqlite://{}", folder.display());
    let pending = gristmill_storage::pending(&url).await.expect("an answer");
    assert!(pending.iter().all(|migration| !migration.what.is_empty()), "{pending:?}");
    pending.into_iter().map(|migration| migration.version).collect()
}

#[tokio::test]
async fn a_database_of_the_first_version_is_migrated_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    version_1(folder.path());
    let store = open(folder.path()).await.expect("the store opens").store;
    let all = store.walk(None, 10).await.expect("jobs");
    let states: Vec<State> = all.iter().map(|whole| whole.job.state).collect();
    assert_eq!(states, [State::Queued, State::Running, State::Failed]);
    assert!(all.iter().all(|whole| whole.job.gates.is_none() && whole.payload == text("{}")));
    let (waits, runs, dead) = (&all[0].job, &all[1], &all[2].job);
    assert_eq!((&waits.tags[..], waits.deadline), (&["x".to_owned()][..], Some(Timestamp::from_millis(9_000))));
    assert_eq!(waits.backoff, Backoff::Fixed { delay_ms: 7 });
    assert_eq!((runs.job.progress.percent, runs.job.lease.is_some(), runs.logs.len()), (40, true, 1));
    assert_eq!(dead.error.as_ref().map(|error| error.code.as_str()), Some("boom"));
    assert_eq!(store.counts(None).await.expect("counts").iter().map(|cell| cell.count).sum::<u64>(), 3);
    assert_eq!(store.records(Kind::Queue).await.expect("records").len(), 1);

    // It lives on, beside jobs with gates, and keeps registers.
    let claimed = store.claim(claim_of(std::slice::from_ref(&waits.key), at(0))).await.expect("a claim");
    assert!(store.apply(vec![succeed(&claimed[0].job, at(1))]).await.expect("a change")[0].is_some());
    let mut gated = job(at(2));
    let concurrency = Some(Concurrency { key: "k".parse().expect("a key"), limit: 1 });
    gated.job.gates = Some(Box::new(Gates { concurrency, ..Gates::default() }));
    store.insert(vec![gated.clone()]).await.expect("a job");
    let key = RegisterKey { space: Space::Slots, tenant: gated.job.key.tenant.clone(), name: "k".into() };
    let made = Swap { key: key.clone(), expect: Expect::Absent, to: Some((json!(1), None)) };
    assert_eq!(store.swap(vec![made]).await.expect("an answer"), [true]);
    drop(store);
    let store = open(folder.path()).await.expect("the store opens again").store;
    assert_eq!(store.jobs(&[gated.job.key.clone()]).await.expect("a job"), [Some(gated.job)]);
    assert!(store.registers(&[key]).await.expect("a register")[0].is_some());
}

/// Every file with its length and its time.
fn files(folder: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let data = entry.metadata().expect("a file");
            (entry.file_name().to_string_lossy().into_owned(), data.len(), data.modified().expect("a time"))
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn what_a_migration_would_do_is_told_and_nothing_is_written() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("data #1? 100%");
    assert_eq!(pending(&folder).await, [1, 2]);
    assert!(!folder.exists());
    fs::create_dir(&folder).expect("a folder");
    assert_eq!(pending(&folder).await, [1, 2]);
    version_1(&folder);
    let before = files(&folder);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(pending(&folder).await, [2]);
    assert_eq!(files(&folder), before);

    let opened = open(&folder).await.expect("the store opens");
    assert!(pending(&folder).await.is_empty(), "beside a server");
    drop(opened);
    let before = files(&folder);
    assert!(pending(&folder).await.is_empty());
    assert_eq!(files(&folder), before);

    let conn = Connection::open(folder.join("gristmill.db")).expect("a database");
    conn.pragma_update(None, "user_version", 99).expect("a version");
    drop(conn);
    let url = format!("sqlite://{}", folder.display());
    let error = gristmill_storage::pending(&url).await.expect_err("it is newer");
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 2 }), "{error:?}");
    fs::write(folder.join("gristmill.db"), "a letter, and a long one at that").expect("a file");
    let error = gristmill_storage::pending(&url).await.expect_err("it is no database");
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error:?}");
}

#[tokio::test]
async fn a_url_that_names_no_folder_is_refused_without_repeating_its_secrets() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let in_a_file = format!("sqlite://{}/data", file.path().display());
    for url in ["", "data", "sqlite://", "redis://user:hunter2@host/db", &in_a_file] {
        let error = gristmill_storage::open(url, &Clock::start()).await.err().expect("the URL is refused");
        assert!(matches!(error, StoreError::Url(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("hunter2"));
    }
}
