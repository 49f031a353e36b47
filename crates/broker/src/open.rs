//! The only match on which broker it is.

use std::sync::Arc;

use crate::{Broker, BrokerError, embedded::EmbeddedBroker, rabbitmq::RabbitBroker};

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
    /// Every process that opens the same URL.
    Shared,
}

/// Opens the broker that the URL names: `embedded:`, or `amqp://user:password@host:port/vhost` (`amqps://` for TLS).
/// Returns at once, whether or not a server answers: the broker connects on its own, again and again, and until it
/// has, every operation fails with the reason.
///
/// # Errors
/// The URL names no broker.
pub async fn open(url: &str) -> Result<Opened, BrokerError> {
    match url.split_once(':') {
        Some(("embedded", "")) => Ok(Opened { broker: Arc::new(EmbeddedBroker::default()), reach: Reach::ThisProcess }),
        Some(("amqp" | "amqps", _)) => Ok(Opened { broker: Arc::new(RabbitBroker::open(url)?), reach: Reach::Shared }),
        // The rest of the URL may hold a password: it is not repeated.
        _ => Err(BrokerError::Url("must be `embedded:`, `amqp://...` or `amqps://...`".into())),
    }
}
