//! Trouble that lasts: said once when it begins and once when it is over, however often it is met in between.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether one thing that a process does again and again fails just now.
pub(crate) struct Trouble {
    /// What does not work, as a sentence.
    what: &'static str,
    lasts: AtomicBool,
}

impl Trouble {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what, lasts: AtomicBool::new(false) }
    }

    /// It failed, for this reason.
    pub(crate) fn met(&self, error: &impl Display) {
        if self.lasts.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "{}, still", self.what);
        } else {
            tracing::warn!(%error, "{}", self.what);
        }
    }

    /// It worked.
    pub(crate) fn over(&self) {
        // Most often there was none: the flag is shared by everybody, and is only read then.
        if self.lasts.load(Ordering::Relaxed) && self.lasts.swap(false, Ordering::Relaxed) {
            tracing::info!("over: {}", self.what);
        }
    }

    /// It worked, or it did not.
    pub(crate) fn after<T, E: Display>(&self, outcome: Result<T, E>) -> Option<T> {
        match outcome {
            Ok(done) => {
                self.over();
                Some(done)
            }
            Err(error) => {
                self.met(&error);
                None
            }
        }
    }
}
