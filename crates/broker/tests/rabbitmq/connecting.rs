//! Connecting to servers that are away, refuse, or say nothing: an answer at once, and the reason in a sentence.

use std::time::{Duration, Instant};

use gristmill_broker::{BrokerError, conformance::Backend};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Rabbit, address, band, connected, dispatches, fresh_queue, server, server_at, trouble};

#[tokio::test]
async fn a_malformed_url_is_refused_without_its_password() {
    for url in ["amqp://u:s3cret@host:port/", "amqps://u:s3cret@/v", "amqp:s3cret", "rabbitmq://u:s3cret@host/"] {
        let Err(BrokerError::Url(reason)) = gristmill_broker::open(url).await else { panic!("{url} was taken") };
        assert!(!reason.contains("s3cret"), "{reason}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_said() {
    let url = server().replace(":guest@", ":wrong@");
    assert_ne!(url, server(), "the test needs a server with the password guest");
    let broker = Rabbit::new().open_at(&url).await;
    let reason = trouble(&*broker, "ACCESS_REFUSED").await;
    assert!(!reason.contains("wrong@"), "{reason}");
}

#[tokio::test]
async fn an_unknown_vhost_is_said() {
    let (rest, _) =
        server().rsplit_once('/').map(|(rest, vhost)| (rest.to_owned(), vhost.to_owned())).expect("a vhost");
    let broker = Rabbit::new().open_at(&format!("{rest}/no-such-vhost")).await;
    trouble(&*broker, "no-such-vhost").await;
}

#[tokio::test]
async fn every_operation_fails_at_once_while_nothing_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nowhere = listener.local_addr().expect("an address");
    drop(listener);
    let broker = Rabbit::new().open_at(&server_at(nowhere)).await;
    trouble(&*broker, "refused").await;
    let queue = fresh_queue();
    let began = Instant::now();
    let unavailable =
        |error: BrokerError| matches!(error, BrokerError::Unavailable(reason) if reason.contains("refused"));
    assert!(broker.declare(&queue).await.is_err_and(unavailable), "declare");
    assert!(broker.publish(&queue, dispatches(0..1)).await.is_err(), "publish");
    assert!(broker.consume(&band(&queue), 1).await.err().is_some_and(unavailable), "consume");
    assert!(broker.depth(&band(&queue)).await.is_err_and(unavailable), "depth");
    assert!(broker.purge(&band(&queue)).await.is_err_and(unavailable), "purge");
    assert!(broker.listen().await.err().is_some_and(unavailable), "listen");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("an address");
    drop(listener);
    let rabbit = Rabbit::new();
    let broker = rabbit.open_at(&server_at(place)).await;
    trouble(&*broker, "refused").await;
    let listener = TcpListener::bind(place).await.expect("the port again");
    tokio::spawn(async move {
        while let Ok((mut inside, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut outside = TcpStream::connect(address()).await.expect("the server");
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            });
        }
    });
    connected(&*broker).await;
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let broker = Rabbit::new().open_at(&server_at(listener.local_addr().expect("an address"))).await;
    let (publishing, _) = listener.accept().await.expect("a connection");
    let (consuming, _) = listener.accept().await.expect("another");
    let began = Instant::now();
    assert!(broker.ping().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(1), "an operation does not wait for the handshake");
    trouble(&*broker, "no AMQP greeting").await;
    // Nothing is left of what was given up, not even a socket.
    for socket in [publishing, consuming] {
        ended(socket).await;
    }
    listener.accept().await.expect("another attempt");
}

async fn ended(socket: TcpStream) {
    let mut buffer = [0; 64];
    let reading = async {
        loop {
            socket.readable().await.expect("readable");
            match socket.try_read(&mut buffer) {
                Ok(0) => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.expect("the socket is closed");
}

#[tokio::test]
async fn two_prefixes_keep_apart() {
    let (one, other) = (Rabbit::new(), Rabbit::new());
    let queue = fresh_queue();
    one.open().await.declare(&queue).await.expect("declared");
    let depth = other.open().await.depth(&band(&queue)).await;
    assert!(matches!(depth, Err(BrokerError::Undeclared(_))), "{depth:?}");
}
