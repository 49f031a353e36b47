//! Keys of jobs that are erased.

use gristmill_common::{JobId, job::Job};
use gristmill_storage::{Expect, Register, RegisterKey, StoreError, Swap};

use super::submit::{holder_of, register_of};
use crate::Engine;

impl Engine {
    /// Jobs were erased: their keys are free at once, if they still name them. What fails here is seen to by whoever
    /// asks for the key next.
    pub(crate) async fn free_keys(&self, erased: &[Job]) {
        let keys: Vec<(RegisterKey, JobId)> =
            erased.iter().filter_map(|job| Some((register_of(job)?, job.key.id))).collect();
        if !keys.is_empty() {
            self.0.not_freed.after(self.try_to_free(keys).await);
        }
    }

    async fn try_to_free(&self, keys: Vec<(RegisterKey, JobId)>) -> Result<(), StoreError> {
        let (keys, erased): (Vec<RegisterKey>, Vec<JobId>) = keys.into_iter().unzip();
        let registers = self.store().registers(&keys).await?;
        let still = |(register, id): (Option<Register>, JobId)| {
            register.filter(|register| holder_of(register).is_ok_and(|holder| holder == id))
        };
        let swaps: Vec<Swap> = registers
            .into_iter()
            .zip(erased)
            .filter_map(still)
            .map(|register| Swap { expect: Expect::Version(register.version), key: register.key, to: None })
            .collect();
        if !swaps.is_empty() {
            self.store().swap(swaps).await?;
        }
        Ok(())
    }
}
