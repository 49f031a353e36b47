//! Records that cannot be read, because somebody has edited them by hand: they are left out of what is about many
//! jobs, so that nobody else waits for them, and said once.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{Mutex, PoisonError},
};

/// How many are named at most.
const MOST_NAMED: usize = 1_000;
/// How much of an id is remembered, in characters.
const LONGEST_ID: usize = 200;

static NAMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Counts a record that is left out, and says why when it is left out for the first time.
pub(crate) fn leave_out(id: &str, reason: &dyn Display) {
    metrics::counter!("gristmill_store_unreadable_total").increment(1);
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    if is_new(&mut named, id) {
        tracing::error!(record.id = id, %reason, "a record of the store cannot be read, and is left out: mend it or erase it");
        if named.len() == MOST_NAMED {
            tracing::error!("{MOST_NAMED} records cannot be read; others are no longer named");
        }
    }
}

/// Whether a record is to be named.
fn is_new(named: &mut BTreeSet<String>, id: &str) -> bool {
    let id: String = id.chars().take(LONGEST_ID).collect();
    named.len() < MOST_NAMED && named.insert(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_once_and_no_more_than_can_be_remembered() {
        let mut named = BTreeSet::new();
        assert!(is_new(&mut named, "a") && !is_new(&mut named, "a"));
        let new = (0..2 * MOST_NAMED).filter(|n| is_new(&mut named, &n.to_string())).count();
        assert_eq!(new, MOST_NAMED - 1);
        assert!(!is_new(&mut named, "b"));
        named.clear();
        assert!(is_new(&mut named, &"x".repeat(1 << 20)));
        assert_eq!(named.first().map(String::len), Some(LONGEST_ID));
    }
}
