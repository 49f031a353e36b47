//! Logs as they come out: JSON lines that parse, text that reads, and no death of a closed stderr.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use gristmill_runtime::{
    settings::{Log, LogFormat},
    telemetry,
};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// Set in the child that logs to a closed stderr.
const CHILD: &str = "TEST_LOGS_TO_A_CLOSED_STDERR";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Captured {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn log(format: LogFormat, filter: &str) -> Log {
    Log { format, filter: filter.to_owned() }
}

fn captured(log: &Log, is_terminal: bool, events: impl FnOnce()) -> String {
    let captured = Captured::default();
    let subscriber = telemetry::subscriber(log, captured.clone(), is_terminal).expect("a valid filter");
    tracing::subscriber::with_default(subscriber, events);
    let bytes = captured.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_json_line_has_the_fields_of_its_spans_and_its_own_at_the_top() {
    let text = captured(&log(LogFormat::Auto, "info"), false, || {
        let request = tracing::info_span!("request", request.id = "req_1", job.id = tracing::field::Empty);
        let _inside = request.enter();
        request.record("job.id", "job_1");
        let quoted = "a \"quoted\"\nmessage";
        tracing::info!(job.attempt = 2, job.cancelled = true, level = "mine", "{quoted}");
        tracing::debug!("filtered out");
        tracing::warn!(request.id = %"req_2", error = &io::Error::other("no") as &dyn std::error::Error, "failed");
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["message"], "a \"quoted\"\nmessage");
    assert_eq!(lines[0]["level"], "INFO");
    assert_eq!(lines[0]["request.id"], "req_1");
    assert_eq!(lines[0]["job.id"], "job_1");
    assert_eq!(lines[0]["job.attempt"], 2);
    assert_eq!(lines[0]["job.cancelled"], true);
    assert_eq!(lines[0]["target"], module_path!());
    let timestamp = lines[0]["timestamp"].as_str().expect("text");
    assert!(timestamp.parse::<gristmill_common::Timestamp>().is_ok(), "{timestamp}");
    assert_eq!(lines[1]["request.id"], "req_2", "an event's own field wins");
    assert_eq!(lines[1]["error"], "no");
    assert_eq!(text.lines().nth(1).expect("a line").matches("request.id").count(), 1);
}

#[test]
fn a_terminal_gets_text() {
    let event = || tracing::info!(job.id = "job_1", "started");
    let text = captured(&log(LogFormat::Text, "info"), false, event);
    assert!(text.contains("started") && text.contains("job.id=\"job_1\""), "{text}");
    let text = captured(&log(LogFormat::Auto, "info"), true, event);
    assert!(text.contains("started") && !text.starts_with('{'), "{text}");
    assert!(captured(&log(LogFormat::Json, "info"), true, event).starts_with('{'));
}

#[test]
fn a_bad_filter_is_refused() {
    let outcome = telemetry::subscriber(&log(LogFormat::Json, "a=loud"), io::sink, false).map(|_| ());
    assert!(outcome.expect_err("refused").to_string().starts_with("log.filter: "));
}

#[test]
fn the_child_logs_and_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    // The reader of stderr is gone before the first line is read from stdin.
    io::stdin().read_line(&mut String::new()).expect("a line");
    telemetry::init(&log(LogFormat::Json, "info")).expect("the first set-up");
    tracing::info!("to nobody");
    let panicked = std::thread::spawn(|| panic!("to nobody")).join();
    assert!(panicked.is_err());
    tracing::info!("still here");
    std::process::exit(42);
}

fn child() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "the_child_logs_and_panics", "--nocapture"]).env(CHILD, "1");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
fn a_closed_stderr_is_survived() {
    let mut child = child().spawn().expect("a child");
    drop(child.stderr.take());
    child.stdin.take().expect("a pipe").write_all(b"go\n").expect("the child reads");
    assert_eq!(child.wait().expect("an end").code(), Some(42));
}

#[test]
fn a_panic_is_a_log_line() {
    let mut child = child().spawn().expect("a child");
    child.stdin.take().expect("a pipe").write_all(b"go\n").expect("the child reads");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(42));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[1]["message"], "a thread panicked");
    assert_eq!(lines[1]["panic.message"], "to nobody");
    assert!(lines[1]["panic.location"].as_str().expect("text").contains("telemetry.rs:"));
}
