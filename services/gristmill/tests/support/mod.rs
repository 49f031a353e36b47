//! A server that answers what a test tells it to, and remembers what it was asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// The job that every answer is about.
pub(crate) const ID: &str = "job_01jd8000000000000000000000";

/// One request, as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Method and target.
    pub(crate) line: String,
    /// In lower case.
    pub(crate) headers: Vec<String>,
    /// Whole.
    pub(crate) body: String,
}

impl Request {
    /// Whether a header came, such as `content-length: 3`.
    pub(crate) fn has(&self, header: &str) -> bool {
        self.headers.iter().any(|line| line == header)
    }
}

/// Answers in turn; the last answer stays.
pub(crate) struct Canned {
    /// `http://` and where it listens.
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Canned {
    /// Starts it on a free port.
    pub(crate) fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        thread::spawn(move || {
            for (turn, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a connection");
                let request = read(&stream);
                seen.lock().expect("not poisoned").push(request);
                stream.write_all(answers[turn.min(answers.len() - 1)].as_bytes()).expect("the client listens");
            }
        });
        Self { address, asked }
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// An answer, after which the connection is closed.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

/// A job in this state, with the given fields over the usual ones.
pub(crate) fn job(state: &str, over: Value) -> String {
    let mut job = json!({
        "id": ID, "type": "word_count", "state": state, "queue": "default", "priority": "normal", "attempt": 1,
        "max_attempts": 3, "progress": {"percent": 0, "message": null}, "cancel_requested": false,
        "created_at": "2026-11-21T08:00:00.123Z", "run_at": null, "started_at": null, "finished_at": null,
        "deadline": null, "result": null, "error": null, "tags": [], "version": 1,
    });
    if let (Value::Object(job), Value::Object(over)) = (&mut job, over) {
        job.extend(over);
    }
    job.to_string()
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let line = read_line(&mut reader);
    let mut headers = Vec::new();
    loop {
        match read_line(&mut reader) {
            end if end.is_empty() => break,
            header => headers.push(header.to_lowercase()),
        }
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")).map(|text| text.parse());
    let mut body = Vec::new();
    if let Some(length) = length {
        body.resize(length.expect("a number"), 0);
        reader.read_exact(&mut body).expect("the body");
    } else if headers.iter().any(|header| header == "transfer-encoding: chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(&mut reader), 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).expect("a chunk");
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Request { line, headers, body: String::from_utf8(body).expect("UTF-8") }
}

fn read_line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}
