//! The only match on which broker it is.

use std::sync::Arc;

use crate::{Broker, BrokerError, embedded::EmbeddedBroker};

/// A broker, and who can reach it.
#[derive(Clone)]
pub struct Opened {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Who can reach it.
    pub reach: Reach,
}

/// Who can reach a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This process alone.
    ThisProcess,
}

/// Opens the broker that the URL names.
///
/// # Errors
/// The URL names no broker.
pub async fn open(url: &str) -> Result<Opened, BrokerError> {
    match url {
        "embedded:" => Ok(Opened { broker: Arc::new(EmbeddedBroker::default()), reach: Reach::ThisProcess }),
        _ => Err(BrokerError::Url("must be `embedded:`".into())),
    }
}
