//! The search through the model.

fn main() -> std::process::ExitCode {
    gristmill_model::check(std::env::args().skip(1))
}
