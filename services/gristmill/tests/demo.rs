//! `gristmill demo`: everything once, and an orderly end.

use std::fs;

use gristmill_testkit::DEADLINE;
use tokio::process::Command;

#[tokio::test]
async fn the_words_of_a_file_are_counted_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let book = folder.path().join("book.txt");
    fs::write(&book, "to be or not to be\nthat is the question\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.arg("demo").arg(&book).kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = ended.expect("the demo ends").expect("the program runs");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [["words", "10"], ["lines", "2"], ["bytes", "40"], ["to", "2"], ["be", "2"]] {
        assert!(rows.iter().any(|told| *told == row), "{row:?} is not in\n{told}");
    }
    assert!(told.contains("The server has stopped."), "{told}");
}
