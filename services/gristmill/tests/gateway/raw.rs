//! A client that sends exactly what a test says, piece by piece.

use gristmill_common::http::Problem;
use gristmill_testkit::{DEADLINE, Gateway};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A connection to the gateway.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn to(gateway: &Gateway) -> Self {
        let address = gateway.url().replace("http://", "");
        Self(TcpStream::connect(address).await.expect("the gateway listens"))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the gateway reads");
    }

    /// What comes up to and with this text.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let byte = timeout(DEADLINE, self.0.read_u8()).await.expect("in time").expect("more of the answer");
            answer.push(byte);
        }
        String::from_utf8(answer).expect("text")
    }

    /// All that comes until the gateway closes the connection.
    pub(crate) async fn read_to_end(mut self) -> String {
        let mut answer = Vec::new();
        timeout(DEADLINE, self.0.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
        String::from_utf8(answer).expect("text")
    }
}

/// Sends a request as it stands here, after which the connection closes, and takes the answer.
pub(crate) async fn ask(gateway: &Gateway, request: &str) -> String {
    let mut client = Raw::to(gateway).await;
    client.send(request).await;
    client.read_to_end().await
}

/// The status of an answer, and the error that is its body.
pub(crate) fn problem(answer: &str) -> (u16, Problem) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not an answer: {answer}"));
    assert!(head.contains("Content-Type: application/problem+json"), "{head}");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}
