//! Small models of the rules around a key: slots, unique keys, and the firing of schedules. Each searches every
//! interleaving of a few actors within bounds, and each decision in it is the product's own function. Beside each
//! search, rules are left out one at a time, and the search must then find what breaks.
//!
//! The job's own life is searched by the model beside these. As there, `GRISTMILL_MODEL=full` searches further.

mod cron;
mod slots;
mod unique;

use std::{fmt::Debug, hash::Hash, num::NonZero, thread, time::Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// A model that can be searched on all processors.
trait Rules:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Clone + Debug + PartialEq + Send + Sync>
    + Send
    + Sync
    + 'static
{
}

/// Searches the rules as they are: nothing may break, and what makes the search worth something must be reached.
fn holds(name: &str, model: impl Rules) {
    let started = Instant::now();
    let checker = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let seconds = started.elapsed().as_secs_f64();
    println!("{name}: {} unique states, depth {}, {seconds:.1} s", checker.unique_state_count(), checker.max_depth());
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        let must_find = property.expectation == Expectation::Sometimes;
        let steps = path.as_ref().filter(|_| !must_find).map(|path| path.clone().into_actions());
        assert_eq!(path.is_some(), must_find, "{name}: {}: {steps:#?}", property.name);
    }
}

/// Searches the rules without one of them: something must break.
fn breaks(left_out: impl Debug, model: impl Rules) {
    let checker = model.checker().threads(threads()).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut always = checker.model().properties().into_iter().filter(|one| one.expectation == Expectation::Always);
    let broken = always.find_map(|property| Some((property.name, checker.discovery(property.name)?)));
    let (name, path) = broken.unwrap_or_else(|| panic!("{left_out:?} goes unseen"));
    println!("{left_out:?} breaks \"{name}\" in {} steps", path.into_actions().len());
}

fn searches_far() -> bool {
    std::env::var("GRISTMILL_MODEL").is_ok_and(|size| size == "full")
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
