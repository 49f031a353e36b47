//! The program as people run it: what it sends, what it prints, and the code it ends with.

mod support;

use std::{
    fs,
    io::Write,
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use support::{Canned, ID, answer, job};

fn gristmill(server: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.env("GRISTMILL_SERVER", server).stdin(Stdio::null());
    command
}

fn run(server: &str, arguments: &[&str]) -> Output {
    gristmill(server).args(arguments).output().expect("the program runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

fn accepted() -> String {
    answer("202 Accepted", "", &job("queued", json!({})))
}

#[test]
fn help_and_mistakes_have_their_codes() {
    let help = run("", &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(stdout(&help).contains("gristmill demo") && stdout(&help).contains("Exit codes:"));
    assert_eq!(run("", &["submit"]).status.code(), Some(64));
    let no_id = run("", &["get", "job_1"]);
    assert_eq!(no_id.status.code(), Some(64));
    assert!(stderr(&no_id).contains("26 lower-case"), "{}", stderr(&no_id));
}

#[test]
fn without_a_server_there_is_a_hint() {
    let address = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let output = run(&format!("http://user:hunter2@{address}"), &["get", ID]);
    assert_eq!(output.status.code(), Some(3));
    let told = stderr(&output);
    assert!(told.contains(&format!("cannot reach a server at http://{address}: ")), "{told}");
    assert!(told.contains("gristmill serve") && !told.contains("hunter2"), "{told}");
    let output = run("https://localhost:1", &["get", ID]);
    assert!(stderr(&output).contains("no TLS"), "{}", stderr(&output));
}

#[test]
fn a_payload_is_sent_as_it_was_given_and_the_job_printed() {
    let server = Canned::start(vec![accepted()]);
    let arguments = ["submit", "word_count", "--payload", r#"{"text":"a", "top": 1.50}"#, "--priority", "high"];
    let output = gristmill(&server.address)
        .args(arguments)
        .args(["--queue", "mail", "--delay-ms", "5", "--tag", "a", "--tag", "b", "--idempotency-key", "k1"])
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(printed["id"], ID);
    assert!(stdout(&output).lines().count() > 10, "laid out for people");
    let request = &server.asked()[0];
    assert_eq!(request.line, "POST /api/v1/jobs HTTP/1.1");
    assert!(request.has("content-type: application/json") && request.has("idempotency-key: k1"), "{request:?}");
    assert_eq!(
        request.body,
        r#"{"type":"word_count","payload":{"text":"a", "top": 1.50},"queue":"mail","priority":"high","delay_ms":5,"tags":["a","b"]}"#
    );
}

#[test]
fn a_payload_that_is_no_json_is_not_sent() {
    let server = Canned::start(vec![accepted()]);
    let output = run(&server.address, &["submit", "word_count", "--payload", "{text}"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("--payload is not JSON"), "{}", stderr(&output));
    assert!(server.asked().is_empty());
}

#[test]
fn a_text_file_is_streamed_with_its_length_and_stdin_in_chunks() {
    let server = Canned::start(vec![accepted()]);
    let text = "Größe, ψυχή\r\n".repeat(20_000);
    let folder = tempfile::tempdir().expect("a folder");
    let book = folder.path().join("book.txt");
    fs::write(&book, &text).expect("a file");

    let path = book.to_str().expect("UTF-8");
    let arguments = ["submit", "word_count", "--text", path, "--tag", "a", "--tag", "b c", "--quiet"];
    let output = run(&server.address, &arguments);
    assert_eq!(stdout(&output), format!("{ID}\n"), "{}", stderr(&output));

    let mut child = gristmill(&server.address)
        .args(["submit", "word_count", "--text", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("an end").success());

    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /api/v1/jobs?type=word_count&tags=a%2Cb+c HTTP/1.1");
    assert!(asked[0].has(&format!("content-length: {}", text.len())), "{:?}", asked[0].headers);
    assert!(asked[1].has("transfer-encoding: chunked"), "{:?}", asked[1].headers);
    for request in asked {
        assert!(request.has("content-type: text/plain; charset=utf-8"), "{:?}", request.headers);
        assert!(request.body == text, "the text arrives as it was");
    }
}

#[test]
fn a_refusal_is_told_field_by_field() {
    let problem = json!({
        "code": "invalid_payload", "title": "Invalid", "status": 422, "detail": "it does not fit",
        "request_id": "req_1", "errors": [{"pointer": "/payload/text", "detail": "is missing"}],
    });
    let problem =
        answer("422 Unprocessable Content", "Content-Type: application/problem+json\r\n", &problem.to_string());
    let server = Canned::start(vec![problem]);
    let output = run(&server.address, &["submit", "word_count", "--payload", "{}"]);
    assert_eq!(output.status.code(), Some(3));
    let expected = "error: invalid_payload: it does not fit\n  /payload/text: is missing\n  request: req_1\n";
    assert_eq!(stderr(&output), expected);

    let server = Canned::start(vec![answer("502 Bad Gateway", "", "<html>")]);
    let output = run(&server.address, &["get", ID]);
    assert!(stderr(&output).contains("502 Bad Gateway") && stderr(&output).contains("<html>"), "{}", stderr(&output));
}

#[test]
fn watching_prints_each_change_once_and_ends_with_the_jobs_code() {
    let cases = [("succeeded", 0, json!(null)), ("failed", 1, json!("broke")), ("cancelled", 2, json!(null))];
    for (state, code, error) in cases {
        let error = error.as_str().map(|code| json!({"code": code, "message": "it\nbroke \u{1b}[2J", "attempt": 3}));
        let half = json!({"progress": {"percent": 50, "message": "counting"}});
        let server = Canned::start(vec![
            answer("200 OK", "ETag: \"1\"\r\n", &job("queued", json!({}))),
            answer("200 OK", "ETag: \"2\"\r\n", &job("running", half)),
            answer("304 Not Modified", "ETag: \"2\"\r\n", ""),
            answer("200 OK", "ETag: \"3\"\r\n", &job(state, json!({"error": error, "version": 3}))),
        ]);
        let output = run(&server.address, &["watch", ID]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let lines: Vec<_> = stdout(&output).lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[0], format!("{ID}   0% queued"));
        assert_eq!(lines[1], format!("{ID}  50% running (counting)"));
        let why = if state == "failed" { " (broke: it broke  [2J)" } else { "" };
        assert_eq!(lines[2], format!("{ID}   0% {state}{why}"));
        let asked = server.asked();
        assert!(!asked[0].headers.iter().any(|header| header.starts_with("if-none-match")));
        assert!(asked[1].has("if-none-match: \"1\"") && asked[3].has("if-none-match: \"2\""), "{asked:?}");
    }
}

#[test]
fn waiting_leaves_stdout_to_the_ended_job() {
    let done = job("succeeded", json!({"result": {"words": 2}}));
    let server =
        Canned::start(vec![accepted(), answer("200 OK", "", &job("running", json!({}))), answer("200 OK", "", &done)]);
    let output = run(&server.address, &["submit", "word_count", "--payload", "{}", "--wait"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed: Value = serde_json::from_str(stdout(&output)).expect("JSON alone");
    assert_eq!(printed["result"]["words"], 2);
    assert_eq!(stderr(&output).lines().count(), 2, "{}", stderr(&output));
}

#[test]
fn a_result_comes_byte_for_byte() {
    let server = Canned::start(vec![answer("200 OK", "Content-Type: application/json\r\n", "{\"n\":1.50}")]);
    let output = run(&server.address, &["get", ID, "--result"]);
    assert_eq!(stdout(&output), "{\"n\":1.50}");
    assert_eq!(server.asked()[0].line, format!("GET /api/v1/jobs/{ID}/result HTTP/1.1"));
}

#[test]
fn a_bad_setting_stops_a_server_before_it_starts() {
    let output = gristmill("").env("GRISTMILL_WORKER__LEASE_MS", "1").arg("serve").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("worker.lease_ms: must be at least 3 x worker.heartbeat_ms"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_demo_without_a_book_says_what_to_do() {
    let output = run("", &["demo", "no/such/book.txt"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("gristmill demo my-book.txt"), "{}", stderr(&output));
}
