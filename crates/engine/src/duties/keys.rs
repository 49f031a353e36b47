//! Unique and debounced keys that nobody needs any more. No submission waits for it: whether a key is held, its job
//! says.

use std::time::Duration;

use gristmill_common::{
    JobId, Timestamp,
    job::{Job, JobKey},
    unique::{Debounced, Held},
};
use gristmill_storage::{Register, StoreError};

use super::{
    Scheduler,
    registers::{due_again, made, removed},
};

/// A key that is still needed is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

impl Scheduler {
    pub(super) async fn drop_unique_keys(&self, due: Vec<Register>, now: Timestamp) -> Result<usize, StoreError> {
        self.drop_left_over(self.read::<Held>(due), |held| held.holder, |held, job| held.is_left_over(job, now), now)
            .await
    }

    pub(super) async fn drop_debounced_keys(&self, due: Vec<Register>, now: Timestamp) -> Result<usize, StoreError> {
        let keys = self.read::<Debounced>(due);
        self.drop_left_over(keys, |key| key.holder, |key, job| key.is_left_over(job, now), now).await
    }

    async fn drop_left_over<T>(
        &self,
        keys: Vec<(Register, T)>,
        holder: impl Fn(&T) -> JobId,
        is_left_over: impl Fn(&T, Option<&Job>) -> bool,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let holder_of = |register: &Register, key: &T| JobKey { tenant: register.key.tenant.clone(), id: holder(key) };
        let named = self.named(keys.iter().map(|(register, key)| holder_of(register, key)).collect()).await?;
        let mut swaps = Vec::with_capacity(keys.len());
        for (register, key) in keys {
            let holder = holder_of(&register, &key);
            if self.names_unreadable(&register, std::iter::once(holder.clone()), &named) {
                continue;
            }
            swaps.push(match is_left_over(&key, named.jobs.get(&holder)) {
                true => removed(register),
                false => due_again(register, Some(now + LOOK_AGAIN)),
            });
        }
        Ok(made(&self.swap(swaps).await?))
    }
}
