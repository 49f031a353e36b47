//! What happened to a job, bounded: the first entry and the last 63.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Timestamp, WorkerId};

/// How many entries a history keeps.
pub const MAX_ENTRIES: usize = 64;
/// The longest error message kept, in bytes.
pub const MAX_ERROR_BYTES: usize = 4 * 1024;

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was accepted.
    Created,
    /// Its time came.
    Due,
    /// A gate was shut: it waits until that may be open.
    Parked,
    /// A worker took it.
    Claimed,
    /// It was asked to stop while it ran.
    CancelRequested,
    /// It ended well.
    Succeeded,
    /// An attempt failed, and another will be made.
    RetryScheduled,
    /// It ended badly.
    Failed,
    /// It ended because somebody asked for it.
    Cancelled,
    /// Its worker gave it back.
    Released,
    /// Its lease ran out, or its worker died.
    Rescued,
    /// Somebody set it to run again.
    RetriedByHand,
}

/// One line of a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryEntry {
    /// When it happened.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// What happened.
    pub what: What,
    /// Who ran it, for a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub worker: Option<WorkerId>,
    /// Which attempt, for a claim and for what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The error's code, for a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The error's message, for a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl HistoryEntry {
    /// An entry that needs no more words.
    #[must_use]
    pub fn new(at: Timestamp, what: What) -> Self {
        Self { at, what, worker: None, attempt: None, code: None, message: None }
    }
}

/// The first entry and the last 63, and how many there were in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    entries: VecDeque<HistoryEntry>,
    total: u32,
}

impl History {
    /// Adds an entry; the second-oldest one gives way when there is no room.
    pub fn push(&mut self, entry: HistoryEntry) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.remove(1);
        }
        self.entries.push_back(entry);
        self.total += 1;
    }

    /// What is kept, oldest first. The entries left out came after the first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &HistoryEntry> + DoubleEndedIterator {
        self.entries.iter()
    }

    /// How many entries were left out between the first and the second.
    #[must_use]
    pub fn omitted(&self) -> u32 {
        self.total - self.entries.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_keeps_its_first_entry_and_the_last_ones_and_marks_the_gap() {
        let mut history = History::default();
        for n in 0..100 {
            history.push(HistoryEntry::new(Timestamp::from_millis(n), What::Due));
        }
        let times: Vec<i64> = history.entries().map(|entry| entry.at.as_millis()).collect();
        assert_eq!(times.len(), MAX_ENTRIES);
        assert_eq!((times[0], times[1], times[63]), (0, 37, 99));
        assert_eq!(history.omitted(), 36);
    }
}
