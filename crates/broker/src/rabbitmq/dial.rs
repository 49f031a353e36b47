//! Making one connection, with a time limit, and with a handle on its socket: the library's thread waits for a
//! silent server for ever, and only the end of the socket ends it.

use std::{
    io,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties,
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{sync::Notify, time::timeout};

use super::{
    locked,
    reason::{Fault, PATIENCE, reason},
};

/// For the whole handshake, TCP and TLS included.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// An open connection.
pub(super) struct Session {
    connection: Connection,
    socket: Socket,
    /// Rings when somebody waited for an answer in vain.
    pub(super) suspected: Notify,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// What went wrong, for a person.
    pub(super) async fn dial(uri: &AMQPUri, name: &str) -> Result<Self, String> {
        let socket = Socket::default();
        let runtime = lapin::runtime::default_runtime().map_err(|error| reason(&error))?;
        let properties = ConnectionProperties::default().with_connection_name(format!("gristmill {name}").into());
        let opened = socket.clone();
        let connecting = Connection::connector(
            uri.clone(),
            runtime,
            async move |uri: AMQPUri, runtime| {
                let mut failure = io::Error::from(io::ErrorKind::NotFound);
                let host = uri.authority.host.clone();
                for address in tokio::net::lookup_host((host.as_str(), uri.authority.port)).await? {
                    match timeout(PATIENCE, AsyncTcpStream::connect(&runtime, address)).await {
                        Ok(Ok(stream)) => {
                            if let AsyncTcpStream::Plain(plain) = &stream {
                                // A frame must not wait for the answer to the one before it.
                                plain.get_ref().set_nodelay(true)?;
                                opened.holds(plain.get_ref().as_fd().try_clone_to_owned()?.into())?;
                            }
                            return Ok(match uri.scheme {
                                AMQPScheme::AMQP => stream,
                                AMQPScheme::AMQPS => stream.into_tls(&host, OwnedTLSConfig::default().as_ref()).await?,
                            });
                        }
                        Ok(Err(error)) => failure = error,
                        Err(_) => failure = io::ErrorKind::TimedOut.into(),
                    }
                }
                Err(failure.into())
            },
            properties,
        );
        match timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(Self { connection, socket, suspected: Notify::new() }),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_) => {
                socket.shut();
                Err(format!("no AMQP greeting within {} s", HANDSHAKE.as_secs()))
            }
        }
    }

    /// Whether it is still open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker takes nothing just now: it is low on memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Opens a channel.
    pub(super) async fn channel(&self) -> Result<Channel, Fault> {
        self.answered(self.connection.create_channel()).await
    }

    /// Waits for the answer to one call, but not for ever.
    pub(super) async fn answered<T>(&self, call: impl Future<Output = lapin::Result<T>>) -> Result<T, Fault> {
        match timeout(PATIENCE, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.suspected.notify_one();
                Err(Fault::silence())
            }
        }
    }

    /// What happens to it, such as a blockade.
    pub(super) fn events(&self) -> impl futures::Stream<Item = lapin::Event> + Send + Unpin {
        Box::pin(self.connection.events_listener())
    }

    /// Ends it without a word to a broker that does not listen.
    pub(super) fn cut(&self) {
        self.socket.shut();
    }
}

/// The socket of a connection, for as long as the connection may need to be cut.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<SocketState>>);

#[derive(Default)]
enum SocketState {
    #[default]
    NotYet,
    Open(TcpStream),
    Shut,
}

impl Socket {
    /// Takes hold of the socket.
    ///
    /// # Errors
    /// It came too late: nobody waits for it any more.
    fn holds(&self, socket: TcpStream) -> io::Result<()> {
        let mut state = locked(&self.0);
        if matches!(*state, SocketState::Shut) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *state = SocketState::Open(socket);
        Ok(())
    }

    fn shut(&self) {
        if let SocketState::Open(socket) = std::mem::replace(&mut *locked(&self.0), SocketState::Shut) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
