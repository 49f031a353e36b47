//! What is printed, in the words of the test harness.

use std::{collections::BTreeMap, process::ExitCode};

/// Counts what passed and what failed.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    states: usize,
    /// What some search must come across, and whether one did.
    sightings: BTreeMap<&'static str, bool>,
}

impl Tally {
    /// Counts and prints one check.
    pub(crate) fn count(&mut self, name: &str, passed: bool) {
        println!("  test {name} ... {}", if passed { "ok" } else { "FAILED" });
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }

    /// Adds the states of one search.
    pub(crate) fn states(&mut self, states: usize) {
        self.states += states;
    }

    /// Notes whether a search came across what some search must.
    pub(crate) fn sighting(&mut self, name: &'static str, seen: bool) {
        *self.sightings.entry(name).or_default() |= seen;
    }

    /// Counts what the searches must have come across between them, or they would prove nothing.
    pub(crate) fn reached(&mut self) {
        println!("\nmodel, all searches: {} unique states", self.states);
        for (name, seen) in std::mem::take(&mut self.sightings) {
            self.count(&format!("sometimes: {name}"), seen);
        }
    }

    /// Prints the sum.
    pub(crate) fn end(self) -> ExitCode {
        let Self { passed, failed, .. } = self;
        let (word, code) = if failed == 0 { ("ok", ExitCode::SUCCESS) } else { ("FAILED", ExitCode::FAILURE) };
        println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n");
        code
    }
}
