//! Registers as the gates need them: many in one call.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    time::Duration,
};

use futures::future::join_all;
use gristmill_common::Timestamp;
use gristmill_storage::{Expect, Register, RegisterKey, StoreError, Swap};
use serde_json::Value;

use super::Worker;

/// How often a swap is tried that others are faster with.
pub(super) const MOST_TRIES: u32 = 8;
/// The longest wait before the second try; it doubles with each.
const FIRST_WAIT_MS: u64 = 4;
/// The longest wait before any try.
const LONGEST_WAIT_MS: u64 = 64;

/// Registers that could be read, and those of them that are there.
pub(super) type Read = BTreeMap<RegisterKey, Option<Register>>;

impl Worker {
    /// Reads registers; leaves those out that could not be read.
    pub(super) async fn read_registers(&self, keys: BTreeSet<RegisterKey>) -> Read {
        let store = self.0.engine.store();
        let keys: Vec<RegisterKey> = keys.into_iter().collect();
        match store.registers(&keys).await {
            Ok(found) => {
                self.0.not_read.over();
                keys.into_iter().zip(found).collect()
            }
            // One of a newer build spoils the whole answer: the others are asked for one by one.
            Err(_) if keys.len() > 1 => {
                let found = join_all(keys.iter().map(|key| store.registers(slice::from_ref(key)))).await;
                match found.iter().find_map(|found| found.as_ref().err()) {
                    Some(error) => self.0.not_read.met(error),
                    None => self.0.not_read.over(),
                }
                let found = found.into_iter().map(|found| found.ok()?.pop());
                keys.iter().cloned().zip(found).filter_map(|(key, found)| Some((key, found?))).collect()
            }
            Err(error) => {
                self.0.not_read.met(&error);
                Read::new()
            }
        }
    }

    /// Makes swaps; says which were made. None if that is open.
    pub(super) async fn swap_registers(&self, swaps: Vec<Swap>) -> Option<BTreeSet<RegisterKey>> {
        if swaps.is_empty() {
            return Some(BTreeSet::new());
        }
        let keys: Vec<RegisterKey> = swaps.iter().map(|swap| swap.key.clone()).collect();
        let made: Result<Vec<bool>, StoreError> = self.0.engine.store().swap(swaps).await;
        let made = self.0.not_swapped.after(made)?;
        Some(keys.into_iter().zip(made).filter_map(|(key, made)| made.then_some(key)).collect())
    }
}

/// The swap that makes of a register, as it was read, what it is to be. None if nothing is there and nothing is to be.
pub(super) fn swap_to(
    key: &RegisterKey,
    read: Option<&Register>,
    to: Option<(Value, Option<Timestamp>)>,
) -> Option<Swap> {
    let expect = match read {
        Some(register) => Expect::Version(register.version),
        None if to.is_none() => return None,
        None => Expect::Absent,
    };
    Some(Swap { key: key.clone(), expect, to })
}

/// Waits before this try, by lot: those who were at it at once do not come at once again.
pub(super) async fn before_try(number: u32) {
    if number > 0 {
        let most = (FIRST_WAIT_MS << number.min(8)).min(LONGEST_WAIT_MS);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most))).await;
    }
}
