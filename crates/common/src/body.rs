//! Bodies: payloads, texts and results. Opaque bytes, kept as they were sent.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::BlobId;

/// The largest body that lives beside its job; a larger one is a blob. Bytes.
pub const INLINE_LIMIT: usize = 64 * 1024;

/// A body, or where to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// The bytes themselves, at most [`INLINE_LIMIT`].
    Inline(Bytes),
    /// The bytes are a blob of their own.
    Blob(BlobRef),
}

/// A blob and its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Which blob.
    pub id: BlobId,
    /// How long it is, in bytes.
    pub bytes: u64,
}

impl Body {
    /// How long it is, in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob(blob) => blob.bytes,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which of a job's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The JSON payload.
    Payload,
    /// The text sent as the request's body, if it was sent so.
    Text,
    /// The JSON result.
    Result,
}
