//! What goes wrong with MongoDB, and what the store makes of it: one line that says why, without the URL.

use std::time::Duration;

use gristmill_common::{BlobId, JobId};
use mongodb::{
    bson::{Document, RawDocument},
    error::{Error, ErrorKind},
};

use crate::StoreError;

/// The server's own codes that mean something here.
/// Source: `src/mongo/base/error_codes.yml` in MongoDB's repository.
mod code {
    pub(super) const UNAUTHORIZED: i32 = 13;
    pub(super) const AUTHENTICATION_FAILED: i32 = 18;
    pub(super) const INDEX_OPTIONS_CONFLICT: i32 = 85;
    pub(super) const INDEX_KEY_SPECS_CONFLICT: i32 = 86;
    pub(super) const DUPLICATE_KEY: i32 = 11_000;
    pub(super) const OUT_OF_DISK_SPACE: i32 = 14_031;
}

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The driver says so: the server was not reached, or it refused the whole command.
    #[error("{}", reason(.0))]
    Driver(#[from] Error),
    /// There was no reply in time. The driver's call goes on, for it must not be dropped midway.
    #[error("the server did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The server refused one of a command's statements.
    #[error("the server refused a write: {message}")]
    Refused {
        /// The server's code.
        code: i32,
        /// What it said.
        message: String,
    },
    /// The write was made, but not confirmed as asked for: it may yet be rolled back.
    #[error("the write was not confirmed: {0}")]
    Unconfirmed(String),
    /// A record is not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// A job came with a blob that the collector has taken, or that was never committed.
    #[error("the upload of {0} expired before its job was written")]
    UploadExpired(BlobId),
    /// A key was taken, and then the job that had it was gone.
    #[error("{0} was erased at this moment: try again")]
    Vanished(JobId),
    /// Rivals were faster than the store can tell: some of the swaps were made.
    #[error("registers changed too fast to tell what became of a swap: read them again")]
    Undecided,
    /// A newer build wrote it, and this one must not take it for something else.
    #[error("{0} was written by a newer build: ask one")]
    Newer(String),
    /// The index is there, made by somebody else.
    #[error("the index `{index}` of the collection `{collection}` is not as this build makes it: {found}")]
    IndexConflict {
        /// The collection.
        collection: String,
        /// The index.
        index: String,
        /// How it differs.
        found: String,
    },
    /// Another process migrates the database just now.
    #[error("another process is migrating the database")]
    Migrating,
    /// The store is not ready: the reason was found before.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fault {
    /// Whether a key was taken.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Refused { code: code::DUPLICATE_KEY, .. })
    }

    /// Whether an index is in the way of another.
    pub(super) fn is_index_conflict(&self) -> bool {
        matches!(self.code(), Some(code::INDEX_OPTIONS_CONFLICT | code::INDEX_KEY_SPECS_CONFLICT))
    }

    /// Whether it tells of the server or the way to it, and not of what was asked: worth looking whether the
    /// server is there.
    pub(super) fn is_about_the_server(&self) -> bool {
        match self {
            Self::Driver(error) => !matches!(&*error.kind, ErrorKind::Command(_) | ErrorKind::InvalidArgument { .. }),
            Self::TimedOut(_) => true,
            _ => false,
        }
    }

    fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(refusal) => Some(refusal.code),
                _ => None,
            },
            _ => None,
        }
    }
}

impl From<mongodb::bson::error::Error> for Fault {
    fn from(error: mongodb::bson::error::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Corrupt(what) => Self::Corrupt(what),
            Fault::UploadExpired(id) => Self::UploadExpired(id),
            fault if fault.code() == Some(code::OUT_OF_DISK_SPACE) => Self::out_of_space(fault),
            fault => Self::unavailable(fault),
        }
    }
}

/// The reason, in one line.
fn reason(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Authentication { .. } => "the server refused the user name or the password".into(),
        ErrorKind::Command(refusal) => match refusal.code {
            code::AUTHENTICATION_FAILED => "the server refused the user name or the password".into(),
            code::UNAUTHORIZED => format!("the user lacks a right: {}", first_line(&refusal.message)),
            code => format!("the server said: {} (code {code})", first_line(&refusal.message)),
        },
        ErrorKind::ServerSelection { message, .. } => match innermost(message) {
            Some(cause) => format!("no server answers: {cause}"),
            None => "no server answers".into(),
        },
        ErrorKind::Io(error) => format!("the connection failed: {error}"),
        ErrorKind::ConnectionPoolCleared { .. } => "the connection to the server was lost".into(),
        ErrorKind::DnsResolve { .. } => "the server's name cannot be resolved".into(),
        ErrorKind::InvalidTlsConfig { .. } => "the TLS options of the URL cannot be used".into(),
        other => first_line(&other.to_string()).into(),
    }
}

/// What the driver wraps in a description of the whole topology.
fn innermost(message: &str) -> Option<&str> {
    let cause = message.split("Error: ").nth(1)?;
    let cause = cause.split(", labels").next()?;
    Some(cause.trim_start_matches("Kind: ")).filter(|cause| !cause.is_empty())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// What the server says of a bulk write: how many it made, and which it refused. `run_command` looks at neither.
pub(super) struct Written {
    /// Documents matched, inserted or deleted.
    pub(super) n: u64,
    /// Statements refused, by their place.
    pub(super) refused: Vec<(usize, Fault)>,
}

impl Written {
    pub(super) fn read(reply: &Document) -> Result<Self, Fault> {
        let mut refused = Vec::new();
        for error in reply.get_array("writeErrors").into_iter().flatten() {
            let Some(error) = error.as_document() else { continue };
            let fault = Fault::Refused {
                code: number(error, "code").unwrap_or(0),
                message: first_line(error.get_str("errmsg").unwrap_or_default()).to_owned(),
            };
            let place = number(error, "index");
            refused.push((place.ok_or_else(|| Fault::Corrupt("a write error without its place".into()))?, fault));
        }
        if let Ok(unconfirmed) = reply.get_document("writeConcernError") {
            let message = unconfirmed.get_str("errmsg").unwrap_or_default();
            return Err(Fault::Unconfirmed(first_line(message).to_owned()));
        }
        let n = number(reply, "n");
        Ok(Self { n: n.ok_or_else(|| Fault::Corrupt("a reply without its count".into()))?, refused })
    }

    /// The count, if no statement was refused.
    pub(super) fn all(self) -> Result<u64, Fault> {
        match self.refused.into_iter().next() {
            Some((_, fault)) => Err(fault),
            None => Ok(self.n),
        }
    }
}

/// A number in a reply, in whatever form the server writes it; `None` if it is missing or out of range.
pub(super) fn number<N: TryFrom<i64>>(reply: &Document, key: &str) -> Option<N> {
    let value = reply.get(key)?;
    let number = value.as_i64().or_else(|| value.as_i32().map(i64::from));
    number.or_else(|| value.as_f64().map(|number| number as i64))?.try_into().ok()
}

/// A field that cannot be read.
pub(super) fn wrong(document: &RawDocument, field: &str, what: impl std::fmt::Display) -> Fault {
    let id = document.get_str("_id").unwrap_or("?");
    Fault::Corrupt(format!("`{field}` of {id}: {what}"))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn refused(code: i32) -> Fault {
        Fault::Refused { code, message: "no".into() }
    }

    #[test]
    fn a_full_disk_is_told_from_a_server_that_is_away() {
        assert!(matches!(StoreError::from(refused(code::OUT_OF_DISK_SPACE)), StoreError::OutOfSpace(_)));
        assert!(matches!(StoreError::from(refused(10_107)), StoreError::Unavailable(_)));
        let late = StoreError::from(Fault::TimedOut(Duration::from_secs(5)));
        assert_eq!(late.to_string(), "the store is unavailable: the server did not answer within 5 s");
    }

    #[test]
    fn the_cause_is_found_in_the_drivers_description() {
        let message = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { \
             Address: 127.0.0.1:1, Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: \
             {} } ] }";
        assert_eq!(innermost(message), Some("I/O error: Connection refused (os error 111)"));
        assert_eq!(innermost("Server selection timeout: None of the available servers suitable"), None);
    }

    #[test]
    fn errors_within_a_reply_are_not_overlooked() {
        let reply = doc! {"ok": 1.0, "n": 1, "writeErrors": [{"index": 1, "code": 11_000, "errmsg": "dup\nkey"}]};
        let written = Written::read(&reply).expect("a reply");
        assert_eq!((written.n, written.refused[0].0), (1, 1));
        assert!(written.refused[0].1.is_duplicate());
        assert!(written.all().is_err());
        let reply = doc! {"ok": 1.0, "n": 1, "writeConcernError": {"code": 64, "errmsg": "waiting timed out"}};
        assert!(matches!(Written::read(&reply), Err(Fault::Unconfirmed(_))));
        assert!(matches!(Written::read(&doc! {"ok": 1.0}), Err(Fault::Corrupt(_))));
    }
}
