//! Hearing events: what a listener says to the server on the wire.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use gristmill_broker::{Heard, conformance::Backend};
use gristmill_common::{JobId, State, job::JobKey, message::JobEvent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Rabbit, address, connected, eventually, server_at};

/// The class and method of an ack within its frame, `basic.ack`.
const ACK: [u8; 4] = [0, 60, 0, 80];

/// Hands everything on, and keeps what the client says.
struct Tap {
    address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let heard = said.clone();
        tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                tokio::spawn(relay(inside, heard.clone()));
            }
        });
        Self { address, said }
    }

    fn acks(&self) -> usize {
        self.said.lock().expect("no panic").windows(ACK.len()).filter(|bytes| *bytes == ACK).count()
    }
}

async fn relay(inside: TcpStream, said: Arc<Mutex<Vec<u8>>>) {
    let outside = TcpStream::connect(address()).await.expect("the server");
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (inside.into_split(), outside.into_split());
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        said.lock().expect("no panic").extend(&buffer[..read]);
        if to_server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// RabbitMQ closes the channel of a consumer that keeps a message for half an hour.
#[tokio::test]
async fn a_listener_of_few_events_keeps_none_unacknowledged() {
    let (rabbit, tap) = (Rabbit::new(), Tap::start().await);
    let (near, far) = (rabbit.open_at(&server_at(tap.address)).await, rabbit.open().await);
    connected(&*near).await;
    let mut listener = near.listen().await.expect("listens");
    for number in 1..=3 {
        let event = JobEvent::new(&JobKey { tenant: Default::default(), id: JobId::fresh() }, State::Succeeded);
        far.announce(event.clone());
        let heard = tokio::time::timeout(Duration::from_secs(10), listener.next()).await.expect("in time");
        assert_eq!(heard.expect("an event"), Heard::Event(event));
        // Whoever listens waits for the next.
        let waiting = async { while listener.next().await.is_ok() {} };
        tokio::select! {
            () = waiting => panic!("the listener ended"),
            () = eventually("an ack", || async { (tap.acks() == number).then_some(()) }) => {}
        }
    }
}
