//! The way to the server: known to be good, or the reason why it is not.

use std::sync::Arc;

use tokio::sync::watch;

use super::server::Server;
use crate::StoreError;

/// How the way to the server stands.
pub(super) type Standing = Result<Server, StoreError>;

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
        self.0.borrow().clone()
    }
}
