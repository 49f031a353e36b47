//! The load: connections that send one request after the other. It shares the processors with the server, so it
//! does as little as it can: plain sockets on one thread, one request built beforehand, and of an answer only the
//! status and the length are read.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::plan::Plan;

/// The content type of a submission.
pub(crate) const JSON: &str = "content-type: application/json";

/// What a load has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// How many were answered in a second.
    pub(crate) per_second: f64,
    /// How long half of them took at most, in milliseconds.
    pub(crate) p50_ms: f64,
    /// How long all but a hundredth of them took at most, in milliseconds.
    pub(crate) p99_ms: f64,
}

/// The time that counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    from: Instant,
    until: Instant,
}

/// How long requests took that were answered within a window.
pub(crate) struct Times {
    window: Window,
    last: Instant,
    micros: Vec<u32>,
}

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: Range<usize>,
}

impl Window {
    /// Begins when the load has warmed up.
    pub(crate) fn ahead(plan: &Plan) -> Self {
        let from = Instant::now() + plan.warm_up;
        Self { from, until: from + plan.counted }
    }

    /// What all have measured.
    pub(crate) fn sample(&self, all: &[Times]) -> anyhow::Result<Sample> {
        let mut micros: Vec<u32> = all.iter().flat_map(|times| &times.micros).copied().collect();
        ensure!(!micros.is_empty(), "nothing was answered");
        micros.sort_unstable();
        let at = |share: f64| f64::from(micros[((micros.len() - 1) as f64 * share).round() as usize]) / 1_000.0;
        let seconds = (self.until - self.from).as_secs_f64();
        Ok(Sample { per_second: micros.len() as f64 / seconds, p50_ms: at(0.5), p99_ms: at(0.99) })
    }
}

impl Times {
    /// The first request is sent now.
    pub(crate) fn begin(window: Window) -> Self {
        Self { window, last: Instant::now(), micros: Vec::new() }
    }

    /// A request was answered, and the next is sent at once; says whether there is time for it.
    pub(crate) fn answered(&mut self) -> bool {
        let now = Instant::now();
        if (self.window.from..self.window.until).contains(&now) {
            self.micros.push(u32::try_from((now - self.last).as_micros()).unwrap_or(u32::MAX));
        }
        self.last = now;
        now < self.window.until
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 8 * 1024], body: 0..0 })
    }

    /// Sends a request and reads the answer to its end; the status.
    ///
    /// # Errors
    /// The connection broke, or the answer has no status or no length.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        let (mut filled, mut head) = (0, None);
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "the server closed the connection");
            filled += read;
            if head.is_none() {
                head = read_head(&self.buffer[..filled])?;
            }
            if let Some((status, body)) = &head
                && body.end <= filled
            {
                self.body = body.clone();
                return Ok(*status);
            }
        }
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body.clone()]
    }

    /// Sends a request that must be answered so, and reads the answer's JSON.
    ///
    /// # Errors
    /// It was not, or is something else.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, request: &[u8], expected: u16) -> anyhow::Result<T> {
        let status = self.exchange(request).await?;
        ensure!(status == expected, "answered with {status}: {}", String::from_utf8_lossy(self.body()));
        serde_json::from_slice(self.body()).context("the answer is not what was asked for")
    }
}

/// A request, as it goes over the wire.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends the request over and over on so many connections; each answer must be 202.
///
/// # Errors
/// One was not, or a connection broke.
pub(crate) async fn drive(
    address: SocketAddr,
    request: &Arc<[u8]>,
    connections: usize,
    plan: &Plan,
) -> anyhow::Result<Sample> {
    let mut opened = Vec::with_capacity(connections);
    for _ in 0..connections {
        opened.push(Connection::open(address).await?);
    }
    let window = Window::ahead(plan);
    let mut tasks = JoinSet::new();
    for connection in opened {
        tasks.spawn(repeat(connection, Arc::clone(request), window));
    }
    let mut all = Vec::with_capacity(connections);
    while let Some(ended) = tasks.join_next().await {
        all.push(ended??);
    }
    window.sample(&all)
}

async fn repeat(mut connection: Connection, request: Arc<[u8]>, window: Window) -> anyhow::Result<Times> {
    let mut times = Times::begin(window);
    loop {
        let status = connection.exchange(&request).await?;
        if status != 202 {
            bail!("a submission was answered with {status}: {}", String::from_utf8_lossy(connection.body()));
        }
        if !times.answered() {
            return Ok(times);
        }
    }
}

/// The status, and where the body lies; `None` while the head has not come whole.
fn read_head(answer: &[u8]) -> anyhow::Result<Option<(u16, Range<usize>)>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).context("the head of an answer is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer has no status")?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<usize>().ok() } else { None }
    });
    let body = end + 4..end + 4 + length.context("an answer has no length")?;
    Ok(Some((status.parse()?, body)))
}

/// How long something took, in seconds.
pub(crate) fn seconds_since(began: Instant) -> f64 {
    Duration::as_secs_f64(&began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_has_come_whole() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read_head(&answer[..20]).expect("no head yet"), None);
        assert_eq!(read_head(answer).expect("a head"), Some((202, 44..46)));
        assert!(read_head(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "an answer without a length cannot be read");
    }

    #[test]
    fn a_request_is_what_http_asks_for() {
        let request = request("POST", "/jobs", &[JSON], b"{}");
        let expected =
            "POST /jobs HTTP/1.1\r\nhost: bench\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";
        assert_eq!(String::from_utf8_lossy(&request), expected);
    }
}
