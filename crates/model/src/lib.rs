#![doc = include_str!("../README.md")]

mod action;
mod bounds;
mod canonical;
mod continuation;
mod promises;
mod protocol;
mod record;
mod searches;
mod step;
mod store;
mod tally;
mod trace;
mod world;
mod writes;

use std::{num::NonZero, process::ExitCode, thread, time::Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

use bounds::{Bounds, Sabotage};
use searches::{SABOTAGED, SEARCHES, Search, When};
use step::Stepper;
use tally::Tally;

pub use store::{Call, Standing};
pub use trace::{Step, Trace};

/// Searches the model, as a test program with these arguments, and says whether all was as it should be.
#[must_use]
pub fn check(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("model: test");
        return ExitCode::SUCCESS;
    }
    let mut tally = Tally::default();
    // A filter of the test command that names something else leaves the model out; a number belongs to an option.
    let wanted = |argument: &String| {
        argument.starts_with('-') || argument.parse::<u32>().is_ok() || "model".contains(argument.as_str())
    };
    if arguments.iter().all(wanted) {
        let full = std::env::var("GRISTMILL_MODEL").is_ok_and(|size| size == "full");
        SEARCHES.iter().filter(|search| full || search.when == When::Always).for_each(|one| search(one, &mut tally));
        tally.reached();
        println!("\nmodel, with one rule left out at a time");
        SABOTAGED.iter().for_each(|&(sabotage, bounds)| find(sabotage, bounds, &mut tally));
    }
    tally.end()
}

/// Searches the protocol as it is: nothing may break.
fn search(search: &Search, tally: &mut Tally) {
    let started = Instant::now();
    println!("\nmodel, {}, bounds: {}", search.name, search.bounds);
    let model = Stepper { bounds: search.bounds, sabotage: None };
    let checker = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let seconds = started.elapsed().as_secs_f64();
    println!("model, {}: {states} unique states, depth {depth}, {seconds:.1} s", search.name);
    tally.states(states);
    for property in model.properties() {
        let path = checker.discovery(property.name);
        if property.expectation == Expectation::Sometimes {
            tally.sighting(property.name, path.is_some());
            continue;
        }
        tally.count(&format!("always: {}", property.name), path.is_none());
        for action in path.into_iter().flat_map(|path| path.into_actions()) {
            println!("    {action:?}");
        }
    }
}

/// Searches the protocol without one of its rules: something must break.
fn find(sabotage: Sabotage, bounds: Bounds, tally: &mut Tally) {
    let model = Stepper { bounds, sabotage: Some(sabotage) };
    let checker = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let broken = model.properties().into_iter().find_map(|property| {
        let path = (property.expectation == Expectation::Always).then(|| checker.discovery(property.name)).flatten()?;
        Some(format!("breaks \"{}\" in {} steps", property.name, path.into_actions().len()))
    });
    let found = broken.is_some();
    tally.count(&format!("{sabotage:?} {}", broken.unwrap_or_else(|| "goes unseen".into())), found);
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
