//! Registers that are due: schedules that fire, and what is left of slots, keys and rates. One bounded range of one
//! index is read for all; each space decides for itself what becomes of its own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::Timestamp;
use gristmill_storage::{Expect, Register, RegisterKey, Space, StoreError, Swap};
use serde::{Serialize, de::DeserializeOwned};

use super::{BATCH, BATCHES_A_TICK, Scheduler};
use crate::{board::to_json, trouble::Trouble};

/// How long a register that cannot be read is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Registers that a newer build wrote: newer builds see to them.
pub(super) struct LeftAlone {
    /// As which version, and since when.
    registers: Mutex<HashMap<RegisterKey, (u64, Instant)>>,
    trouble: Trouble,
}

impl Default for LeftAlone {
    fn default() -> Self {
        let trouble = Trouble::new("a register could not be read; it is left to newer builds");
        Self { registers: Mutex::default(), trouble }
    }
}

impl LeftAlone {
    fn has(&self, register: &Register) -> bool {
        let mut left = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|_, (_, since)| since.elapsed() < LEFT_ALONE);
        left.get(&register.key).is_some_and(|(version, _)| *version == register.version)
    }

    fn add(&self, register: &Register, error: &serde_json::Error) {
        let mut left = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        left.insert(register.key.clone(), (register.version, Instant::now()));
        self.trouble.met(error);
    }

    fn over_if_none(&self) {
        if self.registers.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.trouble.over();
        }
    }
}

impl Scheduler {
    /// Sees to the registers that are due; says how many were changed.
    pub(super) async fn see_to_registers(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut changed, mut after) = (0, None);
        for _ in 0..BATCHES_A_TICK {
            let due = self.asked(self.engine.store().due_registers(now, after, BATCH)).await?;
            let full = due.len() == BATCH;
            after = due.last().and_then(|last| Some((last.due_at?, last.key.clone())));
            let mut spaces: BTreeMap<Space, Vec<Register>> = BTreeMap::new();
            for register in due.into_iter().filter(|register| !self.left_alone.has(register)) {
                spaces.entry(register.key.space).or_default().push(register);
            }
            for (space, registers) in spaces {
                changed += match space {
                    Space::Slots => self.free_leaked_slots(registers, now).await?,
                    Space::Unique => self.drop_unique_keys(registers, now).await?,
                    Space::Debounce => self.drop_debounced_keys(registers, now).await?,
                    Space::Schedule => self.fire_schedules(registers, now).await?,
                    Space::Rate | Space::QueueRate => self.drop_idle_rates(registers, now).await?,
                };
            }
            if !full {
                break;
            }
        }
        self.left_alone.over_if_none();
        Ok(changed)
    }

    /// What registers say. What cannot be read is left alone, and left out.
    pub(super) fn read<T: DeserializeOwned>(&self, registers: Vec<Register>) -> Vec<(Register, T)> {
        let read = |register: Register| match T::deserialize(&register.value) {
            Ok(value) => Some((register, value)),
            Err(error) => {
                self.left_alone.add(&register, &error);
                None
            }
        };
        registers.into_iter().filter_map(read).collect()
    }

    /// Carries out what was decided on registers as they were read; says for each whether it was. The others have
    /// changed since, and are read again if they are still due.
    pub(super) async fn swap(&self, swaps: Vec<Swap>) -> Result<Vec<bool>, StoreError> {
        if swaps.is_empty() { Ok(Vec::new()) } else { self.asked(self.engine.store().swap(swaps)).await }
    }
}

/// It is not needed any more.
pub(super) fn removed(register: Register) -> Swap {
    Swap { key: register.key, expect: Expect::Version(register.version), to: None }
}

/// It says what it said, and is due again then.
pub(super) fn due_again(register: Register, due_at: Option<Timestamp>) -> Swap {
    Swap { key: register.key, expect: Expect::Version(register.version), to: Some((register.value, due_at)) }
}

/// It says this, and is due again then.
pub(super) fn changed(
    register: Register,
    value: &impl Serialize,
    due_at: Option<Timestamp>,
) -> Result<Swap, StoreError> {
    let to = Some((to_json(value)?, due_at));
    Ok(Swap { key: register.key, expect: Expect::Version(register.version), to })
}

/// How many swaps were made.
pub(super) fn made(outcomes: &[bool]) -> usize {
    outcomes.iter().filter(|&&made| made).count()
}
