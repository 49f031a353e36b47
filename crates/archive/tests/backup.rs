//! Backups: what is beside them is left alone.

use std::{fs, path::Path};

use gristmill_archive::{ArchiveError, backup};
use gristmill_common::Clock;
use gristmill_storage::conformance::{at, insert, job};

async fn data_folder(folder: &Path) {
    let url = format!("sqlite://{}", folder.display());
    let store = gristmill_storage::open(&url, &Clock::start()).await.expect("a store").store;
    insert(&store, (0..3).map(|n| job(at(n)))).await;
}

#[tokio::test]
async fn a_folder_that_somebody_else_has_there_is_not_touched() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, to) = (place.path().join("data"), place.path().join("backups/today"));
    data_folder(&data).await;
    let part = place.path().join("backups/today.part");
    fs::create_dir_all(&part).expect("a folder");
    fs::write(part.join("thesis.txt"), "all of it").expect("a file");
    // Another backup is under way, or was killed.
    fs::write(part.join("gristmill.db"), "half of it").expect("a file");
    assert_eq!(backup(&data, &to).await.expect("a backup").jobs, 3);
    assert_eq!(fs::read(part.join("thesis.txt")).expect("it is there"), b"all of it");
    assert_eq!(fs::read(part.join("gristmill.db")).expect("it is there"), b"half of it");
    let names = fs::read_dir(place.path().join("backups")).expect("a folder").count();
    assert_eq!(names, 2, "a backup that is made leaves nothing else behind");
    assert!(matches!(backup(&data, &to).await, Err(ArchiveError::Exists(_))));
}

#[tokio::test]
async fn two_backups_to_one_place_are_one_whole_one_and_one_refused() {
    let place = tempfile::tempdir().expect("a folder");
    let (data, to) = (place.path().join("data"), place.path().join("today"));
    data_folder(&data).await;
    let (one, other) = tokio::join!(backup(&data, &to), backup(&data, &to));
    assert!(one.is_ok() != other.is_ok(), "{one:?}, {other:?}");
    let names: Vec<_> =
        fs::read_dir(place.path()).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let again = place.path().join("again");
    assert_eq!(backup(&to, &again).await.expect("a data folder").jobs, 3);
}
