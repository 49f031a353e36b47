//! Limits that all workers keep together: how many jobs of a key run at once, and how often they start.
//!
//! Each is a small value in the store that whoever needs it reads, changes with the functions here, and writes by
//! compare-and-swap. What is decided on an old value is refused there.

mod rate;
mod slots;
mod version;

pub use rate::{Grant, Rate, Turns};
pub use slots::{Holder, LEAK_GRACE, MOST_WAITING, Slot, Slots};
pub use version::Version;
