//! One piece of a connection, held in the proxy's hand, so that a test decides what becomes of it.

use std::io;

use tokio::sync::oneshot;

/// Which piece is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// What the client sends, before the server has it.
    Request,
    /// What the server sends next after such a request has reached it.
    Reply,
    /// What the server sends by itself, before the client has it.
    Push,
}

/// A piece that is held, or will be as soon as it comes. When this is dropped, its connection is closed without it.
#[derive(Debug)]
pub struct Held {
    caught: oneshot::Receiver<()>,
    fate: oneshot::Sender<()>,
}

/// What is waited for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) spot: Spot,
    pub(super) bytes: Vec<u8>,
    pub(super) catch: Catch,
}

/// The proxy's side of a held piece.
#[derive(Debug)]
pub(super) struct Catch {
    tell: oneshot::Sender<()>,
    fate: oneshot::Receiver<()>,
}

pub(super) fn wanted(spot: Spot, bytes: Vec<u8>) -> (Wanted, Held) {
    let (tell, caught) = oneshot::channel();
    let (fate, decided) = oneshot::channel();
    (Wanted { spot, bytes, catch: Catch { tell, fate: decided } }, Held { caught, fate })
}

impl Held {
    /// Waits until the piece has come. Nothing more passes on its connection in that direction meanwhile.
    ///
    /// # Errors
    /// The proxy is gone, or waits for another piece by now.
    pub async fn caught(&mut self) -> io::Result<()> {
        (&mut self.caught).await.map_err(|_| io::Error::other("nothing was held"))
    }

    /// Lets it pass.
    pub fn pass(self) {
        let _ = self.fate.send(());
    }
}

impl Wanted {
    pub(super) fn is_in(&self, piece: &[u8]) -> bool {
        piece.windows(self.bytes.len().max(1)).any(|bytes| bytes == self.bytes)
    }
}

impl Catch {
    /// Tells that the piece is here, and waits for what becomes of it; says whether it passes.
    pub(super) async fn passes(self) -> bool {
        let _ = self.tell.send(());
        self.fate.await.is_ok()
    }
}
