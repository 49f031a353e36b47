//! Signals end a process in order; a second one ends it at once.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use gristmill_runtime::shutdown;
use rustix::process::{Pid, Signal, kill_process};

/// Set in the child; its value says whether it ends when it is asked to.
const CHILD: &str = "TEST_WAITS_FOR_A_SIGNAL";

#[tokio::test]
async fn the_child_waits_for_a_signal() {
    let Ok(manners) = std::env::var(CHILD) else { return };
    let token = shutdown::on_signal().expect("signals");
    writeln!(std::io::stderr(), "listening").expect("stderr");
    token.cancelled().await;
    writeln!(std::io::stderr(), "asked to stop").expect("stderr");
    if manners == "polite" {
        std::process::exit(0);
    }
    std::future::pending::<()>().await;
}

struct Waiting {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Waiting {
    fn start(manners: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "the_child_waits_for_a_signal", "--nocapture"])
            .env(CHILD, manners)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a child");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut waiting = Self { child, lines };
        waiting.read("listening");
        waiting
    }

    fn read(&mut self, expected: &str) {
        let line = self.lines.by_ref().map(|line| line.expect("UTF-8")).find(|line| line == expected);
        assert!(line.is_some(), "the child ended without saying {expected:?}");
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child is there");
    }

    fn code(mut self) -> Option<i32> {
        self.child.wait().expect("an end").code()
    }
}

#[test]
fn either_signal_trips_the_token() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut waiting = Waiting::start("polite");
        waiting.send(signal);
        waiting.read("asked to stop");
        assert_eq!(waiting.code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut waiting = Waiting::start("stubborn");
        waiting.send(Signal::TERM);
        waiting.read("asked to stop");
        waiting.send(signal);
        assert_eq!(waiting.code(), Some(code));
    }
}
