//! How far a move has come, on stderr.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use gristmill_archive::{Progress, Step};

/// How often it is said.
const EVERY: Duration = Duration::from_secs(1);

/// Says how far a move has come: when a step begins and ends, and once a second between.
pub(super) fn tell() -> impl FnMut(Progress) + Send {
    let mut last: Option<(Step, Instant)> = None;
    move |progress| {
        let is_due = last.is_none_or(|(step, at)| step != progress.step || at.elapsed() >= EVERY);
        if is_due || progress.jobs == progress.of {
            last = Some((progress.step, Instant::now()));
            let word = match progress.step {
                Step::Exported => "exported",
                Step::Restored => "imported",
                Step::Compared => "compared",
            };
            // A closed stderr is nothing to die of.
            let _ = writeln!(io::stderr(), "{word} {} of {} jobs", progress.jobs, progress.of);
        }
    }
}

/// `12.3 MiB`.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
