//! What the figures should come to. One that falls short is said so; it fails nothing.

use serde::Serialize;

use crate::{
    actix_route::ROUTE,
    burn_down::BURNED,
    figures::{Figures, Row},
    fleet,
    footprint::{MEMORY, READY},
    group_commit::LOOP,
    idle::{DONE, SYNC},
    submissions::{DRAINING, QUIET_64},
    words::{PLAIN, VOCABULARY, WC},
};

/// A target, and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    /// What should be how.
    pub(crate) what: &'static str,
    /// The bound.
    pub(crate) wanted: String,
    /// What was measured; `None` if it was not.
    pub(crate) got: Option<String>,
    /// Whether it holds.
    pub(crate) holds: Option<bool>,
}

/// Every target.
pub(crate) fn all(figures: &Figures) -> Vec<Target> {
    let share = |part: Row, whole: Row| Some(figures.median(part)? / figures.median(whole)?);
    let done_within = figures.median(SYNC).map(|sync| 2.0 + 3.0 * sync);
    vec![
        at_least_percent("submissions, 64 connections, worker off, of (a)", 12.0, share(QUIET_64, ROUTE)),
        at_least_percent("submissions, 64 connections, worker off, of (b)", 25.0, share(QUIET_64, LOOP)),
        below("submissions, 64 connections, worker off: p99", Some(30.0), "ms", figures.median_p99_ms(QUIET_64)),
        at_least_percent("submissions, 64 connections, while the worker drains, of (a)", 5.0, share(DRAINING, ROUTE)),
        at_least_percent("no-op jobs run, of (b)", 12.0, share(BURNED, LOOP)),
        below("submit to done, idle: 2 ms and three disk syncs", done_within, "ms", figures.median(DONE)),
        at_least_times("word_count without vocabulary, of wc -w", 5.0, share(PLAIN, WC)),
        at_least_times("word_count with vocabulary, of wc -w", 0.5, share(VOCABULARY, WC)),
        below("memory at rest", Some(40.0), "MiB", figures.median(MEMORY)),
        below("time to ready", Some(200.0), "ms", figures.median(READY)),
        at_least_percent("fleet: submissions behind nginx, of (a)", 2.5, share(fleet::SUBMITTED, ROUTE)),
        below("fleet: store round trips for 1,000 jobs", Some(150.0), "", figures.median(fleet::ROUND_TRIPS)),
        below("fleet: dispatches for 1,000 jobs", Some(1_100.0), "", figures.median(fleet::DISPATCHES)),
        below("fleet: processor time of our processes for a job", Some(250.0), "µs", figures.median(fleet::PROCESSOR)),
    ]
}

fn at_least_percent(what: &'static str, bound: f64, got: Option<f64>) -> Target {
    let percent = got.map(|share| 100.0 * share);
    Target {
        what,
        wanted: format!("at least {bound} %"),
        got: percent.map(|percent| format!("{percent:.1} %")),
        holds: percent.map(|percent| percent >= bound),
    }
}

fn at_least_times(what: &'static str, bound: f64, got: Option<f64>) -> Target {
    Target {
        what,
        wanted: format!("at least {bound} times"),
        got: got.map(|times| format!("{times:.2} times")),
        holds: got.map(|times| times >= bound),
    }
}

fn below(what: &'static str, bound: Option<f64>, unit: &str, got: Option<f64>) -> Target {
    Target {
        what,
        wanted: bound.map_or_else(|| "not measured".to_owned(), |bound| format!("below {bound:.2} {unit}")),
        got: got.map(|value| format!("{value:.2} {unit}")),
        holds: got.zip(bound).map(|(value, bound)| value < bound),
    }
}
