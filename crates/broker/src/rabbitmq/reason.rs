//! What went wrong, in words for a person and in kinds for the code.

use std::time::Duration;

use lapin::{ErrorKind, protocol::AMQPError};

use crate::BrokerError;

/// How long the broker may take to answer one call.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// Why the broker did not do what it was asked.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// There is no such queue.
    NotFound,
    /// There is one, with other arguments: the broker's own words.
    Conflict(String),
    /// It could not be reached, did not answer in time, or said something else.
    Unavailable(String),
}

impl Fault {
    /// The broker did not answer in time.
    pub(super) fn silence() -> Self {
        Self::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()))
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(said) if said.get_id() == NOT_FOUND => Self::NotFound,
            ErrorKind::ProtocolError(said) if said.get_id() == PRECONDITION_FAILED => Self::Conflict(words(said)),
            _ => Self::Unavailable(reason(&error)),
        }
    }
}

impl From<Fault> for BrokerError {
    /// For calls that name no queue.
    fn from(fault: Fault) -> Self {
        Self::Unavailable(match fault {
            Fault::NotFound => "something it needs is gone".into(),
            Fault::Conflict(reason) | Fault::Unavailable(reason) => reason,
        })
    }
}

/// One line for a person. The same trouble has the same words each time.
pub(super) fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::ProtocolError(said) => format!("the broker says: {}", words(said)),
        ErrorKind::MissingHeartbeatError => "the broker fell silent".into(),
        ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) | ErrorKind::InvalidChannel(_) => {
            "the connection was lost".into()
        }
        _ => error.to_string(),
    }
}

fn words(said: &AMQPError) -> String {
    said.get_message().to_string()
}
