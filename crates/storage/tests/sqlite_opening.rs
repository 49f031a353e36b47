//! Opening a data folder: what is made, what is refused, and that what is refused is left as it was.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use gristmill_common::Clock;
use gristmill_storage::{Opened, StoreError};
use rusqlite::Connection;

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
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 1 }), "{error:?}");
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
