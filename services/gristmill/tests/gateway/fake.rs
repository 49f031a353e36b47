//! A replica that does one thing with every request, and remembers what came.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// What a fake does once it has a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Answers 200, and keeps the connection.
    Answers,
    /// Closes the connection without a word, as one that is killed does.
    Dies,
    /// Keeps the connection, and says nothing.
    Hangs,
    /// Begins a stream of events, and says no more after the first.
    Streams,
    /// Agrees to another protocol, in which it sends back what it gets.
    Upgrades,
}

/// A running fake; gone when dropped.
pub(crate) struct Fake {
    pub(crate) url: String,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// All that came, as it came.
    bytes: Mutex<Vec<u8>>,
}

impl Fake {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Arc::new(Seen::default());
        let watched = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                watched.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, manner, watched.clone()));
            }
        });
        Self { url, seen, task }
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many requests came whole.
    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// All that came so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.bytes.lock().expect("not poisoned")).into_owned()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which connections are refused as long as the socket lives.
pub(crate) fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let url = format!("http://{}", socket.local_addr().expect("bound"));
    (socket, url)
}

async fn serve(mut stream: TcpStream, manner: Manner, seen: Arc<Seen>) {
    let mut request = Vec::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        seen.bytes.lock().expect("not poisoned").extend_from_slice(&piece[..length]);
        request.extend_from_slice(&piece[..length]);
        if !is_whole(&request) {
            continue;
        }
        request.clear();
        seen.requests.fetch_add(1, Ordering::Relaxed);
        match manner {
            Manner::Answers => {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}";
                stream.write_all(answer).await.expect("nginx listens");
            }
            Manner::Dies => return,
            Manner::Hangs => {}
            Manner::Streams => {
                let answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                let first = "9\r\ndata: 1\n\n\r\n";
                stream.write_all(format!("{answer}{first}").as_bytes()).await.expect("nginx listens");
            }
            Manner::Upgrades => {
                let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
                stream.write_all(answer).await.expect("nginx listens");
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                return;
            }
        }
    }
}

/// Whether this is a whole request, with a length, in chunks or without a body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse().expect("a number"))
}
