//! Slots: a job with a concurrency key takes one before it is claimed, under the lease that it is to be claimed under.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::{
    Tenant,
    job::{GateKey, JobKey},
    limits::{Slot, Slots},
    message::Dispatch,
};
use gristmill_storage::{Register, RegisterKey, Space};
use serde::Deserialize;

use super::{
    Worker,
    claim::Term,
    gates::Candidate,
    registers::{MOST_TRIES, before_try, swap_to},
};
use crate::board::to_json;

/// How candidates fared.
#[derive(Default)]
pub(super) struct SlotsTaken {
    /// They have a slot, or need none.
    pub(super) granted: Vec<Candidate>,
    /// There was none free.
    pub(super) refused: Vec<Candidate>,
    /// Those of the refused that wait in line: they will be told.
    pub(super) in_line: BTreeMap<JobKey, RegisterKey>,
    /// Others were faster again and again, or the store did not answer.
    pub(super) undecided: Vec<Candidate>,
    /// A newer build has written their register.
    pub(super) for_newer: Vec<Candidate>,
}

/// The register of a concurrency key.
pub(super) fn slots_key(tenant: &Tenant, key: &GateKey) -> RegisterKey {
    RegisterKey { space: Space::Slots, tenant: tenant.clone(), name: key.as_str().to_owned() }
}

/// The register of a dispatch's concurrency key, if it has one.
pub(super) fn slots_key_of(dispatch: &Dispatch) -> Option<RegisterKey> {
    let concurrency = dispatch.gates.as_ref()?.concurrency.as_ref()?;
    Some(slots_key(&dispatch.tenant, &concurrency.key))
}

/// What a register says, and what nobody has written yet. None if a newer build wrote it.
pub(super) fn slots_in(register: Option<&Register>) -> Option<Slots> {
    register.map_or_else(|| Some(Slots::default()), |register| Slots::deserialize(&register.value).ok())
}

impl Worker {
    /// Takes a slot for each candidate that needs one.
    pub(super) async fn take_slots(&self, candidates: Vec<Candidate>, term: &Term) -> SlotsTaken {
        let mut taken = SlotsTaken::default();
        let mut pending: BTreeMap<RegisterKey, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            match slots_key_of(&candidate.in_hand.dispatch) {
                Some(key) => pending.entry(key).or_default().push(candidate),
                None => taken.granted.push(candidate),
            }
        }
        let mut is_open = false;
        for number in 0..MOST_TRIES {
            if pending.is_empty() || term.is_half_over() {
                break;
            }
            before_try(number).await;
            is_open |= !self.try_to_take_slots(&mut pending, &mut taken, term).await;
        }
        taken.undecided = pending.into_values().flatten().collect();
        if is_open {
            // A swap whose reply was lost may have been made.
            taken.undecided.iter().for_each(|candidate| self.give_slot_back(&candidate.in_hand, candidate.lease));
        }
        taken
    }

    /// One try; says whether it is known which swaps were made.
    async fn try_to_take_slots(
        &self,
        pending: &mut BTreeMap<RegisterKey, Vec<Candidate>>,
        taken: &mut SlotsTaken,
        term: &Term,
    ) -> bool {
        let now = self.0.engine.now();
        let read = self.read_registers(pending.keys().cloned().collect()).await;
        let (mut swaps, mut planned) = (Vec::new(), BTreeMap::new());
        for (key, register) in &read {
            let Some(before) = slots_in(register.as_ref()) else {
                taken.for_newer.extend(pending.remove(key).into_iter().flatten());
                continue;
            };
            let mut slots = before.clone();
            let outcomes: Vec<Slot> =
                pending[key].iter().map(|candidate| candidate.take_slot(&mut slots, term)).collect();
            if slots != before {
                let Ok(value) = to_json(&slots) else { continue };
                swaps.extend(swap_to(key, register.as_ref(), Some((value, slots.due_at(now)))));
            }
            planned.insert(key.clone(), (outcomes, slots));
        }
        let swapped: BTreeSet<RegisterKey> = swaps.iter().map(|swap| swap.key.clone()).collect();
        let made = self.swap_registers(swaps).await;
        for (key, (outcomes, slots)) in planned {
            let is_decided = !swapped.contains(&key) || made.as_ref().is_some_and(|made| made.contains(&key));
            if !is_decided {
                continue;
            }
            let line: BTreeSet<_> = slots.waiting().collect();
            for (candidate, outcome) in pending.remove(&key).into_iter().flatten().zip(outcomes) {
                if outcome == Slot::Granted {
                    taken.granted.push(candidate);
                    continue;
                }
                let job = candidate.in_hand.dispatch.key();
                if line.contains(&job.id) {
                    taken.in_line.insert(job, key.clone());
                }
                taken.refused.push(candidate);
            }
        }
        made.is_some()
    }

    /// Those that are no longer in the line that they stood in: a slot fell free before they were parked, and whoever
    /// gave it back found nobody to ring for.
    pub(super) async fn no_longer_in_line(&self, in_line: BTreeMap<JobKey, RegisterKey>) -> Vec<JobKey> {
        if in_line.is_empty() {
            return Vec::new();
        }
        let read = self.read_registers(in_line.values().cloned().collect()).await;
        let lines: BTreeMap<_, BTreeSet<_>> = read
            .iter()
            .filter_map(|(key, register)| Some((key, slots_in(register.as_ref())?.waiting().collect())))
            .collect();
        let left = in_line.into_iter().filter(|(job, key)| lines.get(key).is_none_or(|line| !line.contains(&job.id)));
        left.map(|(job, _)| job).collect()
    }
}

impl Candidate {
    fn take_slot(&self, slots: &mut Slots, term: &Term) -> Slot {
        let dispatch = &self.in_hand.dispatch;
        let limit = dispatch.gates.as_ref().and_then(|gates| gates.concurrency.as_ref()).map_or(0, |gate| gate.limit);
        slots.take(dispatch.job_id, self.lease, term.until, limit)
    }
}
