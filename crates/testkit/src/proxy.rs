//! A TCP proxy that breaks connections on purpose.

mod hold;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
};

use self::hold::{Catch, Wanted};
pub use self::hold::{Held, Spot};

/// How connections are treated: those that are open, and new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// What comes is passed on.
    Forward,
    /// Every connection is closed at once.
    Refuse,
    /// Connections stay open, and nothing passes: half-open, as when a host has lost its power.
    Hang,
    /// What comes is passed on after a while, in each direction.
    Delay(Duration),
}

/// A proxy in front of one server. It stops when it is dropped, and closes what is open.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    target: String,
    manner: watch::Sender<Manner>,
    cut: Mutex<Option<Cut>>,
    wanted: Mutex<Option<Wanted>>,
    cuts: AtomicUsize,
    was_cut: Notify,
}

/// One reply that is to be cut off.
#[derive(Debug, Clone)]
struct Cut {
    to: Vec<u8>,
    after: usize,
}

impl Proxy {
    /// Starts a proxy in front of the server at `target`, a host and a port.
    ///
    /// # Errors
    /// The system has no port left.
    pub async fn start(target: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: target.into(),
            manner: watch::Sender::new(Manner::Forward),
            cut: Mutex::new(None),
            wanted: Mutex::new(None),
            cuts: AtomicUsize::new(0),
            was_cut: Notify::new(),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, task })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Treats connections so from now on.
    pub fn treat(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// The next request that holds these bytes reaches the server. Of its reply so many bytes reach the client, then
    /// the connection is closed: so the server has done what it was asked, and the client does not know. Happens
    /// once.
    pub fn cut_reply(&self, to: impl Into<Vec<u8>>, after: usize) {
        *self.shared.cut() = Some(Cut { to: to.into(), after });
    }

    /// The next piece with these bytes is held, or for [`Spot::Reply`], what comes after it. Happens once, and a second
    /// call takes the place of a first whose piece has not come.
    pub fn hold(&self, spot: Spot, containing: impl Into<Vec<u8>>) -> Held {
        let (wanted, held) = hold::wanted(spot, containing.into());
        *self.shared.wanted() = Some(wanted);
        held
    }

    /// How many replies were cut off.
    #[must_use]
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Waits until so many replies were cut off.
    pub async fn cut(&self, times: usize) {
        loop {
            let told = self.shared.was_cut.notified();
            if self.cuts() >= times {
                return;
            }
            told.await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn cut(&self) -> MutexGuard<'_, Option<Cut>> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this piece, or what comes after it, is to be held. The wish is fulfilled with that.
    fn is_to_hold(&self, spot: Spot, piece: &[u8]) -> Option<Catch> {
        let mut wanted = self.wanted();
        wanted.take_if(|wanted| wanted.spot == spot && wanted.is_in(piece)).map(|wanted| wanted.catch)
    }

    /// Whether the reply to this is to be cut off, and where. The wish is fulfilled with that.
    fn is_to_cut(&self, request: &[u8]) -> Option<usize> {
        let mut cut = self.cut();
        let wanted = cut.as_ref()?;
        let holds = request.windows(wanted.to.len().max(1)).any(|bytes| bytes == wanted.to);
        if holds { cut.take().map(|cut| cut.after) } else { None }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    // They end with the proxy.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut manner = shared.manner.subscribe();
    let refused = async {
        // An error means that the proxy is gone.
        let _ = manner.wait_for(|manner| *manner == Manner::Refuse).await;
    };
    tokio::select! {
        () = refused => {}
        _ = pass(client, &shared) => {}
    }
}

async fn pass(client: TcpStream, shared: &Shared) -> io::Result<()> {
    permit(shared).await;
    let server = TcpStream::connect(&shared.target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let next = Mutex::new(Next::default());
    tokio::select! {
        ended = requests(from_client, to_server, shared, &next) => ended,
        ended = replies(from_server, to_client, shared, &next) => ended,
    }
}

/// What becomes of the next reply of a connection.
#[derive(Default)]
struct Next {
    /// It is cut off after so many bytes.
    to_cut: Option<usize>,
    to_hold: Option<Catch>,
}

fn locked(next: &Mutex<Next>) -> MutexGuard<'_, Next> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    next: &Mutex<Next>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let piece = next_piece(&mut from, &mut bytes, shared).await?;
        if piece.is_empty() {
            return Ok(());
        }
        if let Some(after) = shared.is_to_cut(piece) {
            locked(next).to_cut = Some(after);
        }
        if let Some(catch) = shared.is_to_hold(Spot::Reply, piece) {
            locked(next).to_hold = Some(catch);
        }
        if let Some(catch) = shared.is_to_hold(Spot::Request, piece)
            && !catch.passes().await
        {
            return Ok(());
        }
        to.write_all(piece).await?;
    }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    next: &Mutex<Next>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let piece = next_piece(&mut from, &mut bytes, shared).await?;
        if piece.is_empty() {
            return Ok(());
        }
        let to_hold = locked(next).to_hold.take().or_else(|| shared.is_to_hold(Spot::Push, piece));
        if let Some(catch) = to_hold
            && !catch.passes().await
        {
            return Ok(());
        }
        let left = locked(next).to_cut;
        match left {
            Some(left) if left < piece.len() => {
                to.write_all(&piece[..left]).await?;
                shared.cuts.fetch_add(1, Ordering::SeqCst);
                shared.was_cut.notify_waiters();
                return Ok(());
            }
            Some(left) => locked(next).to_cut = Some(left - piece.len()),
            None => {}
        }
        to.write_all(piece).await?;
    }
}

/// Reads what comes, and waits until it may pass. Nothing at the end.
async fn next_piece<'a>(from: &mut OwnedReadHalf, bytes: &'a mut [u8], shared: &Shared) -> io::Result<&'a [u8]> {
    let n = from.read(bytes).await?;
    if n > 0 {
        permit(shared).await;
    }
    Ok(&bytes[..n])
}

/// Waits until bytes may pass.
async fn permit(shared: &Shared) {
    let mut manner = shared.manner.subscribe();
    let passing = manner.wait_for(|manner| *manner != Manner::Hang).await.map(|manner| *manner);
    if let Ok(Manner::Delay(time)) = passing {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each request with `done ` and the request.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 100];
                    while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                        let reply = [b"done ", &bytes[..n]].concat();
                        if stream.write_all(&reply).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(request).await?;
        let mut reply = vec![0; 100];
        let n = stream.read(&mut reply).await?;
        reply.truncate(n);
        Ok(reply)
    }

    #[tokio::test]
    async fn one_reply_is_cut_off_and_the_rest_pass() {
        let proxy = Proxy::start(echo().await.to_string()).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        proxy.cut_reply(*b"two", 6);
        assert_eq!(ask(&mut stream, b"one").await.expect("a reply"), b"done one");
        assert_eq!(ask(&mut stream, b"two").await.expect("a part"), b"done t");
        assert!(matches!(ask(&mut stream, b"three").await.as_deref(), Ok([]) | Err(_)), "it is closed");
        proxy.cut(1).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut stream, b"two").await.expect("a reply"), b"done two");
    }

    #[tokio::test]
    async fn a_piece_is_held_until_it_is_decided_what_becomes_of_it() {
        let proxy = Proxy::start(echo().await.to_string()).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        for spot in [Spot::Request, Spot::Reply, Spot::Push] {
            let mut held = proxy.hold(spot, *b"two");
            assert_eq!(ask(&mut stream, b"one").await.expect("a reply"), b"done one");
            stream.write_all(b"two").await.expect("sent");
            held.caught().await.expect("held");
            held.pass();
            let mut reply = [0; 8];
            stream.read_exact(&mut reply).await.expect("it came in the end");
            assert_eq!(&reply, b"done two");
        }
        let mut held = proxy.hold(Spot::Request, *b"two");
        stream.write_all(b"two").await.expect("sent");
        held.caught().await.expect("held");
        drop(held);
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)), "it is closed");
    }

    #[tokio::test]
    async fn connections_are_refused_and_held_up() {
        let proxy = Proxy::start(echo().await.to_string()).await.expect("a proxy");
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        proxy.treat(Manner::Hang);
        let waits = tokio::time::timeout(Duration::from_millis(50), ask(&mut stream, b"one")).await;
        assert!(waits.is_err(), "nothing passes");
        proxy.treat(Manner::Delay(Duration::from_millis(20)));
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).await.expect("what was held up comes");
        assert_eq!(&reply, b"done one");
        proxy.treat(Manner::Refuse);
        assert!(matches!(ask(&mut stream, b"two").await.as_deref(), Ok([]) | Err(_)), "it is closed");
        proxy.treat(Manner::Forward);
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut stream, b"three").await.expect("a reply"), b"done three");
    }
}
