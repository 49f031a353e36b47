//! How much is measured.

use std::time::Duration;

/// How much is measured, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// What the plan is called in the report.
    pub(crate) name: &'static str,
    /// How often each section is measured.
    pub(crate) rounds: usize,
    /// How long a load runs before it counts.
    pub(crate) warm_up: Duration,
    /// How long it counts.
    pub(crate) counted: Duration,
    /// Jobs of a burn-down, a multiple of 1,000.
    pub(crate) burned: usize,
    /// Jobs of a fleet's burn-down, a multiple of 1,000.
    pub(crate) burned_by_fleet: usize,
    /// Jobs sent one at a time to an idle server.
    pub(crate) single: usize,
    /// The length of the text whose words are counted, in bytes.
    pub(crate) text: usize,
    /// Starts of a server in each round.
    pub(crate) starts: usize,
    /// How long a fresh server rests before its memory is read.
    pub(crate) rest: Duration,
    /// For how long its idle use of the processors is read.
    pub(crate) watch: Duration,
}

impl Plan {
    /// What the targets are set for: under four minutes on two cores.
    pub(crate) fn full() -> Self {
        Self {
            name: "full",
            rounds: 3,
            warm_up: Duration::from_secs(1),
            counted: Duration::from_secs(3),
            burned: 100_000,
            burned_by_fleet: 20_000,
            single: 200,
            text: 256 << 20,
            starts: 2,
            rest: Duration::from_secs(3),
            watch: Duration::from_secs(5),
        }
    }

    /// Shows that everything can be measured.
    pub(crate) fn quick() -> Self {
        Self {
            name: "quick: too short to mean much",
            rounds: 1,
            warm_up: Duration::from_millis(300),
            counted: Duration::from_secs(1),
            burned: 10_000,
            burned_by_fleet: 4_000,
            single: 50,
            text: 32 << 20,
            starts: 3,
            rest: Duration::from_secs(1),
            watch: Duration::from_secs(1),
        }
    }
}
