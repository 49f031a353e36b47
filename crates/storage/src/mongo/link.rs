//! The way to the server: known to be good, or the reason why it is not. It is a breaker: closed while the way is good,
//! open while it is not, half-open while the supervisor tries it.

use std::sync::Arc;

use gristmill_common::breaker::{Reading, State};
use tokio::sync::watch;

use super::server::Server;
use crate::StoreError;

/// How the way to the server stands.
pub(super) struct Standing {
    server: Result<Server, StoreError>,
    seen: Reading,
}

impl Standing {
    /// Nothing is known of it yet; it is being tried.
    pub(super) fn unknown(reason: StoreError) -> Self {
        Self { server: Err(reason), seen: Reading { state: State::HalfOpen, opened: 0 } }
    }

    pub(super) fn is_good(&self) -> bool {
        self.server.is_ok()
    }

    /// It is being tried. While it is good, that changes nothing for anybody.
    pub(super) fn tries(&mut self) {
        if !self.is_good() {
            self.seen.state = State::HalfOpen;
        }
    }

    /// It is good.
    pub(super) fn reached(&mut self, server: Server) {
        if !self.is_good() {
            // What writes met with before the server was lost says nothing of it now.
            server.forget_failures();
        }
        self.seen.state = State::Closed;
        self.server = Ok(server);
    }

    /// It is not.
    pub(super) fn lost(&mut self, reason: StoreError) {
        if self.is_good() || self.seen.opened == 0 {
            self.seen.opened += 1;
        }
        self.seen.state = State::Open;
        self.server = Err(reason);
    }

    /// Of the way, and of writes, which have a breaker of their own.
    fn reading(&self) -> Reading {
        match &self.server {
            Ok(server) => {
                let writes = server.writes();
                Reading { state: writes.state, opened: self.seen.opened + writes.opened }
            }
            Err(_) => self.seen,
        }
    }
}

/// What the parts of the store share: each asks for the server when it needs it.
#[derive(Clone)]
pub(super) struct Link(Arc<watch::Receiver<Standing>>);

impl Link {
    pub(super) fn new(standing: watch::Receiver<Standing>) -> Self {
        Self(Arc::new(standing))
    }

    /// The server.
    ///
    /// # Errors
    /// The supervisor has found, or still finds, that it cannot be used.
    pub(super) fn server(&self) -> Result<Server, StoreError> {
        self.0.borrow().server.clone()
    }

    /// How the way to the server stands, for others to see.
    pub(super) fn breaker(&self) -> Reading {
        self.0.borrow().reading()
    }
}
