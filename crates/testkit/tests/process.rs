//! A child process is heard, frozen, thawed, restarted, stopped, and does not outlive the test.

use std::time::Duration;

use gristmill_testkit::{Process, ProcessBuilder, eventually};

fn shell(script: &str) -> ProcessBuilder {
    ProcessBuilder::new("sh").argument("-c").argument(script)
}

/// The state of a process as proc(5) tells it, such as `S` or `T`.
fn state(process: &Process) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn it_is_heard_and_told_by_the_environment() {
    let mut process =
        shell("echo one; echo gristmill is ready on $GRISTMILL_HTTP__LISTEN; echo two >&2; exec sleep 60")
            .with("http.listen", "http://127.0.0.1:1")
            .spawn()
            .expect("a process");
    assert_eq!(process.url().await.expect("it says where"), "http://127.0.0.1:1");
    eventually("both outputs are heard", || async { (process.log().len() == 3).then_some(()) }).await;
}

#[tokio::test]
async fn an_end_before_the_address_is_an_error_with_the_last_words() {
    let mut process = shell("echo no such thing >&2; exit 3").spawn().expect("a process");
    let error = process.url().await.expect_err("it ended").to_string();
    assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
    let missing = ProcessBuilder::new("/nowhere/gristmill-api").spawn().map(drop).expect_err("it is not there");
    assert!(missing.to_string().contains("cargo build --workspace"), "{missing}");
}

#[tokio::test]
async fn it_is_frozen_thawed_and_stopped() {
    let mut process = shell("while :; do :; done").spawn().expect("a process");
    eventually("it works", || async {
        (process.processor_time().expect("it runs") > Duration::from_millis(20)).then_some(())
    })
    .await;
    process.freeze().expect("frozen");
    eventually("it stands still", || async { (state(&process) == Some('T')).then_some(()) }).await;
    process.thaw().expect("thawed");
    eventually("it goes on", || async { (state(&process) == Some('R')).then_some(()) }).await;
    assert!(!process.terminate().await.expect("it stops").success());
    let before = process.id();
    process.restart().await.expect("it starts again");
    assert_ne!(process.id(), before);
    let path = format!("/proc/{}", process.id());
    drop(process);
    assert!(!std::path::Path::new(&path).exists(), "it was killed and collected");
}
