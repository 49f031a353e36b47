//! A job type of your own, in a server of your own: one struct, one `run`, one line to register it.
//!
//! ```sh
//! cargo run -p gristmill --example own_handler -- serve
//! curl -s http://127.0.0.1:8080/api/v1/jobs -H 'Content-Type: application/json' \
//!   -d '{"type": "reverse", "payload": {"text": "stressed"}}'
//! # with the id of the answer
//! curl -s http://127.0.0.1:8080/api/v1/jobs/job_... -H 'Prefer: wait=5'
//! ```

use std::process::ExitCode;

use gristmill_handlers::{Context, HandlerError, JobHandler, built_in};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Turns a text around.
struct Reverse;

/// The payload. The API refuses what does not fit, field by field, before it is stored.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The text to turn around.
    text: String,
}

/// The result.
#[derive(Serialize, JsonSchema)]
struct Output {
    /// The text, turned around.
    text: String,
}

impl JobHandler for Reverse {
    const NAME: &'static str = "reverse";
    const DESCRIPTION: &'static str = "Turns a text around.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, input: Input, context: Context) -> Result<Output, HandlerError> {
        context.log(format!("turning {} bytes around", input.text.len()));
        Ok(Output { text: input.text.chars().rev().collect() })
    }
}

fn main() -> ExitCode {
    gristmill::cli::main(built_in().and_then(|handlers| handlers.with(Reverse)))
}
