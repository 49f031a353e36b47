//! `crash`: takes its worker with it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Context, HandlerError, JobHandler};

/// Ends the process that runs it, at once and without a trace, as a fault in a handler's foreign code may. For tests, and offered by
/// nobody who does not ask for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crash;

/// What `crash` takes: nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {}

impl JobHandler for Crash {
    const NAME: &'static str = "crash";
    const DESCRIPTION: &'static str = "Aborts the process that runs it.";

    type Input = Input;
    type Output = ();

    async fn run(&self, _: Input, _: Context) -> Result<(), HandlerError> {
        std::process::abort()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Registry, built_in, test_types};

    #[test]
    fn nobody_offers_it_unasked() {
        let has_it = |registry: &Registry| registry.get(&"crash".parse().expect("a name")).is_some();
        let built_in = built_in().expect("distinct names");
        assert!(!has_it(&built_in));
        assert!(!has_it(&test_types(built_in).expect("distinct names")));
    }
}
