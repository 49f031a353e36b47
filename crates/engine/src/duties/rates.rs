//! Rates of which nothing is left that was taken.

use gristmill_common::{Timestamp, limits::Rate};
use gristmill_storage::{Register, StoreError};

use super::{
    Scheduler,
    registers::{due_again, made, removed},
};

impl Scheduler {
    /// Removes rates that are idle; the others are looked at when they are.
    pub(super) async fn drop_idle_rates(&self, due: Vec<Register>, now: Timestamp) -> Result<usize, StoreError> {
        let rates = self.read::<Rate>(due).into_iter();
        let swaps = rates.map(|(register, rate)| match rate.idle_at() {
            idle_at if idle_at <= now => removed(register),
            idle_at => due_again(register, Some(idle_at)),
        });
        Ok(made(&self.swap(swaps.collect()).await?))
    }
}
