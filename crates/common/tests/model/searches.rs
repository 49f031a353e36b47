//! The searches, and what they print.

use std::{process::ExitCode, time::Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::{
    bounds::{Asker, Bounds, Sabotage},
    step::Stepper,
};

/// Two jobs that share claims.
const TWO_JOBS: Bounds = Bounds {
    jobs: 2,
    workers: 2,
    schedulers: 2,
    attempts: 2,
    failures: 2,
    rings: 1,
    ticks: 1,
    messages: 1,
    lost: 0,
    doubled: 0,
    deaths: 0,
    replies: 1,
    replies_to: Asker::Any,
    cancels: 0,
    releases: 0,
    again: 0,
};

/// One job, and more of every fault.
const ONE_JOB: Bounds = Bounds {
    jobs: 1,
    workers: 2,
    schedulers: 2,
    attempts: 2,
    failures: 2,
    rings: 1,
    ticks: 2,
    messages: 1,
    lost: 1,
    doubled: 1,
    deaths: 1,
    replies: 1,
    replies_to: Asker::Any,
    cancels: 1,
    releases: 1,
    again: 0,
};

/// Runs every search; fails if one of them tells of a flaw, or a sabotage goes unseen.
pub(crate) fn run() -> ExitCode {
    let mut tally = Tally::default();
    if let Ok(text) = std::env::var("TUNE") {
        let n: Vec<u8> = text.split(',').map(|part| part.parse().expect("n")).collect();
        let bounds = Bounds {
            jobs: n[0],
            workers: n[1],
            schedulers: n[2],
            attempts: n[3],
            failures: n[14],
            rings: n[4],
            ticks: n[5],
            messages: n[6],
            lost: n[7],
            doubled: n[8],
            deaths: n[9],
            replies: n[10], replies_to: if n.len() > 15 {Asker::Claimer} else {Asker::Any},
            cancels: n[11],
            releases: n[12],
            again: n[13],
        };
        search("tune", bounds, &mut tally);
        return tally.end();
    }
    search("one job", ONE_JOB, &mut tally);
    search("two jobs", TWO_JOBS, &mut tally);
    tally.end()
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, name: &str, passed: bool) {
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }

    fn end(self) -> ExitCode {
        let Self { passed, failed } = self;
        let word = if failed == 0 { "ok" } else { "FAILED" };
        println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn search(name: &str, bounds: Bounds, tally: &mut Tally) {
    let started = Instant::now();
    println!("\nmodel, {name}: {bounds}");
    let model = Stepper { bounds, sabotage: None };
    let checker = model
        .checker()
        .threads(2)
        .timeout(std::time::Duration::from_secs(40))
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    println!(
        "model, {name}: {} unique states, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64()
    );
    for property in model.properties() {
        let path = checker.discovery(property.name);
        let passed = path.is_some() == (property.expectation == Expectation::Sometimes);
        tally.count(&format!("{name}: {}", property.name), passed);
        if let Some(path) = path.filter(|_| !passed) {
            for action in path.into_actions() {
                println!("    {action:?}");
            }
        }
    }
}
