//! How much a backend lets wait, before it refuses more.

use std::time::Duration;

/// How much may wait to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Operations.
    pub(crate) operations: usize,
    /// Bytes of bodies.
    pub(crate) bytes: usize,
    /// How long a caller waits for room.
    pub(crate) patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { operations: 4_096, bytes: 64 << 20, patience: Duration::from_secs(5) }
    }
}
