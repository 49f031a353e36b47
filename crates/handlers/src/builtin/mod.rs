//! The job types that come with Gristmill, one per file.

mod crash;
mod fail;
mod sleep;
mod word_count;

pub use crash::Crash;
pub use fail::Fail;
pub use sleep::Sleep;
pub use word_count::WordCount;

use crate::{Registry, RegistryError};

/// What every process offers.
///
/// # Errors
/// None in practice: the names are fixed, and are valid and distinct.
pub fn built_in() -> Result<Registry, RegistryError> {
    Registry::default().with(WordCount)
}

/// Adds the types for trying things out and for tests: `sleep` and `fail`.
///
/// # Errors
/// The registry has a type of one of these names already.
pub fn test_types(registry: Registry) -> Result<Registry, RegistryError> {
    registry.with(Sleep)?.with(Fail)
}
