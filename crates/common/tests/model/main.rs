//! The model of the protocol: every interleaving of its parts within bounds, driven by the product's own
//! decisions. `docs/adr/0002-model-of-the-protocol.md` tells what it covers and what it found.
//!
//! `GRISTMILL_MODEL=full` searches further, for some minutes.

mod action;
mod bounds;
mod canonical;
mod continuation;
mod promises;
mod protocol;
mod record;
mod searches;
mod step;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listed = arguments.iter().any(|argument| argument == "--list");
    // A filter of the test command that names something else leaves the model out.
    let wanted = arguments.iter().all(|argument| argument.starts_with('-') || "model".contains(argument.as_str()));
    if listed {
        println!("model: test");
        return ExitCode::SUCCESS;
    }
    if !wanted {
        println!("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out");
        return ExitCode::SUCCESS;
    }
    searches::run()
}
