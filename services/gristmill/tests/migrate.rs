//! `gristmill migrate`: what it would do, what it does, and that it leaves alone what is up to date.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use gristmill_testkit::{ServerBuilder, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gristmill");

fn migrate(store: &str, more: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(["migrate", "--store", store]).args(more).stdin(Stdio::null());
    command.output().expect("the program runs")
}

/// What it prints when it succeeds.
#[track_caller]
fn told(store: &str, more: &[&str]) -> String {
    let output = migrate(store, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn brings_it_up_to_date_once(store: &str) {
    let shown = told(store, &["--dry-run"]);
    assert!(shown.contains("version 1 to be made: ") && shown.contains("version 2 to be made: "), "{shown}");
    assert_eq!(told(store, &["--dry-run"]), shown, "nothing was written");
    assert_eq!(told(store, &[]), shown.replace(" to be made: ", " made: "));
    for more in [&[][..], &["--dry-run"]] {
        assert_eq!(told(store, more), "the store is up to date\n");
    }
}

fn url(folder: &Path) -> String {
    format!("sqlite://{}", folder.display())
}

#[test]
fn a_folder_is_brought_up_to_date_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let shown = told(&url(&data), &["--dry-run"]);
    assert!(shown.contains("to be made") && !data.exists(), "{shown}");
    brings_it_up_to_date_once(&url(&data));
}

#[tokio::test]
async fn a_database_is_brought_up_to_date_once() {
    let world = World::new().await.expect("a world");
    let store = world.store_url().to_owned();
    tokio::task::spawn_blocking(move || brings_it_up_to_date_once(&store)).await.expect("no panic");
}

#[tokio::test]
async fn a_folder_in_use_can_be_looked_at_and_not_changed() {
    let data = tempfile::tempdir().expect("a folder");
    let server = ServerBuilder::new(PROGRAM, data.path()).start().await.expect("a server");
    assert_eq!(told(&url(data.path()), &["--dry-run"]), "the store is up to date\n");
    assert_eq!(told(&url(data.path()), &[]), "the store is up to date\n");
    drop(server);
    let missing = migrate("mongodb://127.0.0.1:1/gristmill", &["--dry-run"]);
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
}
