//! What keeps a server from starting: it says so in a line on stderr, and exits with 3.

use std::{fs, net::TcpListener, path::Path, process::Output};

use gristmill_testkit::{DEADLINE, ServerBuilder};
use tokio::process::Command;

/// Runs `gristmill serve`, which is to end by itself.
async fn serve(listen: &str, data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.args(["serve", "--listen", listen, "--data"]).arg(data);
    end(command).await
}

async fn end(mut command: Command) -> Output {
    command.kill_on_drop(true);
    let ended = tokio::time::timeout(DEADLINE, command.output()).await;
    ended.expect("the server ends by itself").expect("the program runs")
}

#[track_caller]
fn assert_refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains(why), "{said}");
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(output.stdout.is_empty(), "it never says that it is ready");
}

#[tokio::test]
async fn a_data_folder_has_one_server() {
    let data = tempfile::tempdir().expect("a folder");
    let first = ServerBuilder::new(env!("CARGO_BIN_EXE_gristmill"), data.path()).start().await.expect("a server");
    assert_refused(&serve("127.0.0.1:0", data.path()).await, "in use by another process");
    assert!(first.terminate().await.expect("stopped").success(), "the first was not disturbed");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_alone() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("gristmill.db");
    fs::write(&file, "a letter, not a database\n".repeat(100)).expect("a file");
    assert_refused(&serve("127.0.0.1:0", data.path()).await, "is not a Gristmill database");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "a letter, not a database\n".repeat(100));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_by_its_setting() {
    let data = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    assert_refused(&serve(&address, data.path()).await, &format!("http.listen: {address} cannot be taken"));
}

#[tokio::test]
async fn a_store_that_others_share_needs_a_broker_that_they_share() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    // Nobody listens there: the pairing is refused before anybody is asked.
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("GRISTMILL_STORE__URL", "mongodb://127.0.0.1:1/x");
    assert_refused(&end(command).await, "store.url and broker.url do not go together");
}
