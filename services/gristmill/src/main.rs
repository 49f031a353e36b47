//! The program: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gristmill::cli::main(gristmill_handlers::built_in())
}
