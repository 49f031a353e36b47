//! Registers that are due: schedules that fire, and what is left of slots, keys and rates. One bounded range of one
//! index is read for all; each space decides for itself what becomes of its own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::Display,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{
    Timestamp,
    job::{Job, JobKey},
    limits::Slots,
};
use gristmill_storage::{Expect, Register, RegisterKey, Space, StoreError, Swap};
use serde::{Serialize, de::DeserializeOwned};

use super::{BATCH, BATCHES_A_TICK, Scheduler};
use crate::{board::to_json, trouble::Trouble};

/// How long a register that cannot be read is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);

/// Registers that cannot be seen to: a newer build wrote them and will see to them, or a job that they name cannot be
/// read.
pub(super) struct LeftAlone {
    /// As which version, and since when.
    registers: Mutex<HashMap<RegisterKey, (u64, Instant)>>,
    trouble: Trouble,
}

impl Default for LeftAlone {
    fn default() -> Self {
        let trouble = Trouble::new("a register, or a job of it, could not be read; it is left alone for a while");
        Self { registers: Mutex::default(), trouble }
    }
}

impl LeftAlone {
    fn has(&self, register: &Register) -> bool {
        let left = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        left.get(&register.key).is_some_and(|(version, _)| *version == register.version)
    }

    fn forget_old_ones(&self) {
        let mut left = self.registers.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|_, (_, since)| since.elapsed() < LEFT_ALONE);
    }

    pub(super) fn add(&self, register: &Register, error: &impl Display) {
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

/// Jobs, and which of those that were asked for cannot be read.
#[derive(Default)]
pub(super) struct Named {
    pub(super) jobs: HashMap<JobKey, Job>,
    pub(super) unreadable: HashSet<JobKey>,
}

impl Scheduler {
    /// Sees to the registers that are due; says how many were changed. What goes wrong in one space stops no other.
    pub(super) async fn see_to_registers(&self) -> Result<usize, StoreError> {
        self.left_alone.forget_old_ones();
        let (mut changed, mut failed) = (0, None);
        // More than a tick's worth may lie at the beginning and be left alone: the next tick goes on behind them.
        let mut after = self.registers_left_off().take();
        for _ in 0..BATCHES_A_TICK {
            // Each batch by its own time: what is decided goes by the moment at which it was read.
            let now = self.engine.now();
            let due = self.asked(self.engine.store().due_registers(now, after, BATCH)).await?;
            let full = due.len() == BATCH;
            after = due.last().filter(|_| full).and_then(|last| Some((last.due_at?, last.key.clone())));
            let mut spaces: BTreeMap<Space, Vec<Register>> = BTreeMap::new();
            for register in due.into_iter().filter(|register| !self.left_alone.has(register)) {
                spaces.entry(register.key.space).or_default().push(register);
            }
            for (space, registers) in spaces {
                let outcome = match space {
                    Space::Slots => self.free_leaked_of_readable(registers, now).await,
                    Space::Unique => self.drop_unique_keys(registers, now).await,
                    Space::Debounce => self.drop_debounced_keys(registers, now).await,
                    Space::Schedule => self.fire_schedules(registers, now).await,
                    Space::Rate | Space::QueueRate => self.drop_idle_rates(registers, now).await,
                };
                match outcome {
                    Ok(some) => changed += some,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if !full {
                break;
            }
        }
        *self.registers_left_off() = after;
        self.left_alone.over_if_none();
        failed.map_or(Ok(changed), Err)
    }

    /// Frees slots; leaves those alone of which a holder cannot be read, so that the others are seen to next time.
    async fn free_leaked_of_readable(&self, due: Vec<Register>, now: Timestamp) -> Result<usize, StoreError> {
        let outcome = self.free_leaked_slots(due.clone(), now).await;
        if matches!(outcome, Err(StoreError::Corrupt(_))) {
            let holders = |register: &Register, slots: &Slots| -> Vec<JobKey> {
                let key = |id| JobKey { tenant: register.key.tenant.clone(), id };
                slots.holders().iter().map(|holder| key(holder.job)).collect()
            };
            let keys = self.read::<Slots>(due).into_iter().map(|(register, slots)| {
                let holders = holders(&register, &slots);
                (register, holders)
            });
            let keys: Vec<(Register, Vec<JobKey>)> = keys.collect();
            let named = self.named(keys.iter().flat_map(|(_, holders)| holders.clone()).collect()).await?;
            for (register, holders) in keys {
                self.names_unreadable(&register, holders.into_iter(), &named);
            }
        }
        outcome
    }

    fn registers_left_off(&self) -> MutexGuard<'_, Option<(Timestamp, RegisterKey)>> {
        self.registers_left_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These jobs. One that cannot be read spoils an answer: then they are asked for in ever smaller parts.
    pub(super) async fn named(&self, keys: Vec<JobKey>) -> Result<Named, StoreError> {
        let mut named = Named::default();
        let mut parts = vec![keys];
        while let Some(mut part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.asked(self.engine.store().jobs(&part)).await {
                Ok(found) => named.jobs.extend(found.into_iter().flatten().map(|job| (job.key.clone(), job))),
                Err(StoreError::Corrupt(_)) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([part, rest]);
                }
                Err(StoreError::Corrupt(_)) => named.unreadable.extend(part),
                Err(error) => return Err(error),
            }
        }
        Ok(named)
    }

    /// Leaves a register alone that names a job which cannot be read; says whether it does.
    pub(super) fn names_unreadable(
        &self,
        register: &Register,
        mut jobs: impl Iterator<Item = JobKey>,
        named: &Named,
    ) -> bool {
        let found = jobs.find(|job| named.unreadable.contains(job));
        if let Some(job) = &found {
            let name = format!("{} of {}", job.id, job.tenant);
            self.left_alone.add(register, &format_args!("{} names {name}, which cannot be read", register.key.name));
        }
        found.is_some()
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
