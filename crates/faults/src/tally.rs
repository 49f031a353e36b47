//! What was done to the system, and what came of it: counted over everything that one call of the program does.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::oracle::Verdict;

/// The counts. Clones are the same counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    faults: BTreeMap<&'static str, u64>,
    accepted: u64,
    fired: u64,
    lost: u64,
    doubled: u64,
    wrong: u64,
    late: u64,
}

impl Tally {
    /// A fault of this kind was injected.
    pub(crate) fn injected(&self, kind: &'static str) {
        *self.counts().faults.entry(kind).or_default() += 1;
    }

    /// The oracle has spoken. What it complains of is printed, with where that was.
    pub(crate) fn judged(&self, place: &str, verdict: &Verdict) {
        let mut counts = self.counts();
        counts.accepted += verdict.accepted;
        counts.fired += verdict.fired;
        counts.lost += verdict.lost;
        counts.doubled += verdict.doubled;
        counts.wrong += verdict.complaints.len() as u64;
        for complaint in &verdict.complaints {
            println!("WRONG, {place}: {complaint}");
        }
    }

    /// Something did not go as promised that is no matter of single jobs.
    pub(crate) fn complain(&self, place: &str, complaint: &str) {
        self.counts().wrong += 1;
        println!("WRONG, {place}: {complaint}");
    }

    /// Something took longer than promised, or was refused by a machine that had too much to do. The short form only
    /// says so: it has to pass on a slow day.
    pub(crate) fn late(&self, place: &str, complaint: &str) {
        self.counts().late += 1;
        println!("LATE, {place}: {complaint}");
    }

    /// Whether every promise of time was kept.
    pub(crate) fn is_in_time(&self) -> bool {
        self.counts().late == 0
    }

    /// Whether nothing was found wrong.
    pub(crate) fn is_clean(&self) -> bool {
        let counts = self.counts();
        counts.lost + counts.doubled + counts.wrong == 0
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let faults: Vec<String> =
            counts.faults.iter().map(|(kind, times)| format!("{kind} {}", grouped(*times))).collect();
        write!(
            f,
            "faults injected: {}; {} jobs accepted, {} of them from schedules; {} lost, {} doubled, {} otherwise wrong, \
             {} late",
            faults.join(", "),
            grouped(counts.accepted),
            grouped(counts.fired),
            counts.lost,
            counts.doubled,
            counts.wrong,
            counts.late
        )
    }
}

/// 12,345.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_done_and_what_came_of_it() {
        let tally = Tally::default();
        tally.injected("kill");
        tally.injected("cut");
        tally.injected("kill");
        tally.judged("here", &Verdict { accepted: 12_345, fired: 6, ..Verdict::default() });
        let expected = "faults injected: cut 1, kill 2; 12,345 jobs accepted, 6 of them from schedules; 0 lost, \
                        0 doubled, 0 otherwise wrong, 0 late";
        assert_eq!((tally.to_string().as_str(), tally.is_clean()), (expected, true));
        tally.late("here", "too slow");
        assert_eq!((tally.is_clean(), tally.is_in_time()), (true, false));
        tally.judged("here", &Verdict { lost: 1, ..Verdict::default() });
        assert!(!tally.is_clean());
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([7, 999, 1_000, 1_234_567].map(grouped), ["7", "999", "1,000", "1,234,567"]);
    }
}
