//! The program: it says in one line why it cannot start.

use std::process::Command;

#[test]
fn a_broker_that_cannot_be_shared_is_refused_in_one_line() {
    let data = tempfile::tempdir().expect("a folder");
    let ran = Command::new(env!("CARGO_BIN_EXE_gristmill-api"))
        .env("GRISTMILL_STORE__URL", format!("sqlite://{}", data.path().display()))
        .env("GRISTMILL_BROKER__URL", "embedded:")
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert_eq!((ran.status.code(), errors.lines().count()), (Some(1), 1), "{errors}");
    assert!(errors.contains("broker.url") && errors.contains("gristmill serve"), "{errors}");
}
