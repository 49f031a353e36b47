//! Concurrency slots: who holds those of one key, and who waits for them.
//!
//! **The slot first, then the claim.** A worker takes a slot under the lease that it is about to claim the job
//! under, and claims then. If the claim fails it gives the slot back, and after the run it does so too. What a dead
//! worker leaves behind is freed by a duty that looks at the holders' jobs.
//!
//! **A slot belongs to a lease.** A job may have entries under several: an old run's that was not given back yet,
//! or one that a doubled dispatch took for a claim that is about to be refused. Together they are one slot, and
//! each goes only with its own lease. So a job never waits for itself, giving back an old run's never frees a new
//! one, and giving back a vain one never frees the good one beside it.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{JobId, LeaseId, Timestamp, limits::Version};

/// The most jobs that wait in line at one key. Those beyond it ask again by themselves, after some seconds.
pub const MOST_WAITING: usize = 256;
/// How long after the end of its lease a slot is left alone, whatever its job says: most are given back by then.
pub const LEAK_GRACE: Duration = Duration::from_secs(2);
/// How long a line may stand before no holder. Whoever is in it has asked again by then.
const LINE_STANDS: Duration = Duration::from_secs(20);
/// The most entries of one job. More of its dispatches at once are refused.
const MOST_OF_ONE_JOB: usize = 4;

/// The slots of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    v: Version<1>,
    holders: Vec<Holder>,
    waiting: VecDeque<JobId>,
}

/// One claim's hold on a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// The claim.
    pub lease: LeaseId,
    /// The job.
    pub job: JobId,
    /// When the claim's lease ends, as far as was known when this was written: heartbeats do not write here.
    pub until: Timestamp,
}

/// Whether a job may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// It has a slot under the lease, once the value is written.
    Granted,
    /// There is none free. It waits in line, unless the line is full.
    Refused,
}

impl Slots {
    /// Takes a slot for a job that is about to be claimed. `limit` is the job's own. To take it twice under one
    /// lease is the same as once.
    pub fn take(&mut self, job: JobId, lease: LeaseId, until: Timestamp, limit: u32) -> Slot {
        if let Some(own) = self.holders.iter_mut().find(|holder| holder.job == job && holder.lease == lease) {
            own.until = until;
            return Slot::Granted;
        }
        let free = match self.entries_of(job) {
            0 => self.held() < limit as usize,
            entries => entries < MOST_OF_ONE_JOB,
        };
        if free {
            self.waiting.retain(|&waiting| waiting != job);
            self.holders.push(Holder { lease, job, until });
            return Slot::Granted;
        }
        if self.waiting.len() < MOST_WAITING && !self.waiting.contains(&job) {
            self.waiting.push_back(job);
        }
        Slot::Refused
    }

    /// Gives back what a job held under a lease. Returns who is to be told, if a slot fell free.
    #[must_use]
    pub fn release(&mut self, job: JobId, lease: LeaseId) -> Option<JobId> {
        let before = self.holders.len();
        self.holders.retain(|holder| (holder.job, holder.lease) != (job, lease));
        if self.holders.len() < before && self.entries_of(job) == 0 { self.waiting.pop_front() } else { None }
    }

    /// Takes the first out of the line, to be told in place of one that does not wait any more.
    #[must_use]
    pub fn next_in_line(&mut self) -> Option<JobId> {
        self.waiting.pop_front()
    }

    /// Frees the slots of claims that are over. `lease_end` says when a holder's lease ends as far as is known now, if
    /// its job runs under it or may come to do so, and `None` if it does not and will not: then the slot is free after
    /// [`LEAK_GRACE`]. Returns who is to be told.
    #[must_use]
    pub fn free_leaked(
        &mut self,
        now: Timestamp,
        mut lease_end: impl FnMut(&Holder) -> Option<Timestamp>,
    ) -> Vec<JobId> {
        if self.holders.is_empty() {
            return self.waiting.drain(..).collect();
        }
        let before = self.held();
        self.holders.retain_mut(|holder| match lease_end(holder) {
            Some(end) => {
                holder.until = holder.until.max(end);
                true
            }
            None => now < holder.until + LEAK_GRACE,
        });
        let freed = (before - self.held()).min(self.waiting.len());
        self.waiting.drain(..freed).collect()
    }

    /// When somebody must look for leaked slots next, if nothing changes before.
    #[must_use]
    pub fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        let first_end = self.holders.iter().map(|holder| holder.until + LEAK_GRACE).min();
        first_end.or_else(|| (!self.waiting.is_empty()).then(|| now + LINE_STANDS))
    }

    /// Whether nobody holds a slot and nobody waits: the value need not be kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiting.is_empty()
    }

    /// Who holds slots.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Who waits, the first in line first.
    pub fn waiting(&self) -> impl Iterator<Item = JobId> {
        self.waiting.iter().copied()
    }

    /// How many slots are held: one for each job, however many entries it has.
    #[must_use]
    pub fn held(&self) -> usize {
        self.holders.iter().map(|holder| holder.job).collect::<BTreeSet<_>>().len()
    }

    fn entries_of(&self, job: JobId) -> usize {
        self.holders.iter().filter(|holder| holder.job == job).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job(number: u8) -> JobId {
        JobId::from_bytes([number; 16])
    }

    fn lease(number: u8) -> LeaseId {
        LeaseId::from_bytes([number; 16])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_slot_is_held_until_its_own_lease_gives_it_back() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(job(1), lease(1), at(10), 1), Slot::Granted);
        assert_eq!(slots.take(job(2), lease(2), at(10), 1), Slot::Refused);
        assert_eq!(slots.take(job(3), lease(3), at(10), 1), Slot::Refused);
        assert_eq!(slots.take(job(2), lease(4), at(10), 1), Slot::Refused);
        assert_eq!(slots.waiting().collect::<Vec<_>>(), [job(2), job(3)]);
        // The next attempt of the job comes before its last run was given back.
        assert_eq!(slots.take(job(1), lease(5), at(20), 1), Slot::Granted);
        assert_eq!(slots.release(job(1), lease(1)), None);
        assert_eq!(slots.held(), 1);
        assert_eq!(slots.release(job(1), lease(5)), Some(job(2)));
        assert_eq!(slots.release(job(1), lease(5)), None);
        assert_eq!(slots.take(job(2), lease(6), at(30), 1), Slot::Granted);
    }

    #[test]
    fn the_entry_of_a_refused_claim_goes_without_the_good_one() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(job(1), lease(1), at(10), 1), Slot::Granted);
        assert_eq!(slots.take(job(1), lease(2), at(11), 1), Slot::Granted);
        assert_eq!(slots.release(job(1), lease(2)), None);
        assert_eq!(slots.take(job(2), lease(3), at(12), 1), Slot::Refused);
    }

    #[test]
    fn a_leaked_slot_is_freed_once_nothing_can_run_under_it() {
        let mut slots = Slots::default();
        for number in [1, 2] {
            assert_eq!(slots.take(job(number), lease(number), at(10), 2), Slot::Granted);
        }
        assert_eq!(slots.take(job(3), lease(3), at(10), 2), Slot::Refused);
        assert_eq!(slots.due_at(at(0)), Some(at(12)));
        let runs_on = |holder: &Holder| (holder.job == job(1)).then_some(at(19));
        assert_eq!(slots.free_leaked(at(11), runs_on), []);
        assert_eq!(slots.free_leaked(at(12), runs_on), [job(3)]);
        assert_eq!(slots.holders(), [Holder { lease: lease(1), job: job(1), until: at(19) }]);
        assert_eq!(slots.due_at(at(12)), Some(at(21)));
    }

    #[test]
    fn a_line_before_no_holder_is_told_as_a_whole() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(job(1), lease(1), at(10), 1), Slot::Granted);
        for number in 2..5 {
            assert_eq!(slots.take(job(number), lease(number), at(10), 1), Slot::Refused);
        }
        assert_eq!(slots.release(job(1), lease(1)), Some(job(2)));
        assert_eq!(slots.due_at(at(1)), Some(at(21)));
        assert_eq!(slots.free_leaked(at(21), |_| None), [job(3), job(4)]);
        assert!(slots.is_empty());
    }

    #[test]
    fn the_line_and_the_entries_of_a_job_are_bounded() {
        let mut slots = Slots::default();
        for number in 0..=u8::MAX {
            let granted = slots.take(job(0), lease(number), at(10), 1);
            assert_eq!(granted == Slot::Granted, usize::from(number) < MOST_OF_ONE_JOB);
        }
        assert_eq!(slots.waiting().collect::<Vec<_>>(), [job(0)]);
        for number in 0..2 * MOST_WAITING as u128 {
            let _ = slots.take(JobId::from_bytes((number + (1 << 100)).to_be_bytes()), lease(0), at(10), 1);
        }
        assert_eq!(slots.waiting().count(), MOST_WAITING);
    }

    #[test]
    fn what_a_newer_build_wrote_is_not_read() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(job(1), lease(1), at(10), 1), Slot::Granted);
        assert_eq!(slots.take(job(2), lease(2), at(10), 1), Slot::Refused);
        let stored = serde_json::to_value(&slots).expect("json");
        assert_eq!(stored["v"], 1);
        assert_eq!(serde_json::from_value::<Slots>(stored.clone()).ok(), Some(slots));
        for (field, value) in [("v", json!(2)), ("v", json!(0)), ("more", json!(1))] {
            let mut newer = stored.clone();
            newer[field] = value;
            assert!(serde_json::from_value::<Slots>(newer).is_err(), "{field}");
        }
    }

    /// What happens around one key: jobs are taken up, claimed, run, given back, or lost with their worker.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take(u8),
        Claim(usize),
        GiveBack(usize),
        Wait,
        LookForLeaks,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6u8).prop_map(Step::Take),
            4 => any::<usize>().prop_map(Step::Claim),
            3 => any::<usize>().prop_map(Step::GiveBack),
            2 => Just(Step::Wait),
            1 => Just(Step::LookForLeaks),
        ]
    }

    proptest! {
        /// Under one limit, never more than so many jobs run under good leases.
        #[test]
        fn no_more_than_the_limit_run(limit in 1..4u32, steps in prop::collection::vec(step(), 1..200)) {
            const LEASE: i64 = 3;
            let (mut slots, mut now, mut leases) = (Slots::default(), 0, 0u8);
            // Who took a slot and has neither given it back nor died, and which job runs under which lease.
            let mut taken: Vec<(u8, LeaseId, i64)> = Vec::new();
            let mut running: std::collections::BTreeMap<u8, (LeaseId, i64)> = Default::default();
            for step in steps {
                match step {
                    Step::Take(number) if leases < u8::MAX => {
                        leases += 1;
                        let (lease, until) = (lease(leases), now + LEASE);
                        if slots.take(job(number), lease, at(until), limit) == Slot::Granted {
                            taken.push((number, lease, until));
                        }
                    }
                    Step::Claim(which) if !taken.is_empty() => {
                        let (number, lease, until) = taken[which % taken.len()];
                        if running.get(&number).is_none_or(|&(_, end)| end <= now) && until > now {
                            running.insert(number, (lease, until));
                        }
                    }
                    Step::GiveBack(which) if !taken.is_empty() => {
                        let (number, lease, _) = taken.swap_remove(which % taken.len());
                        running.retain(|_, &mut (runs_under, _)| runs_under != lease);
                        let _ = slots.release(job(number), lease);
                    }
                    Step::Wait => now += 1,
                    Step::LookForLeaks => {
                        let _ = slots.free_leaked(at(now), |holder| {
                            running
                                .iter()
                                .find(|&(&number, &(lease, _))| job(number) == holder.job && lease == holder.lease)
                                .map(|(_, &(_, end))| at(end))
                                .filter(|&end| end > at(now))
                        });
                    }
                    Step::Take(_) | Step::Claim(_) | Step::GiveBack(_) => {}
                }
                let good = running.values().filter(|&&(_, end)| end > now).count();
                prop_assert!(good <= limit as usize, "{good} run under good leases");
                prop_assert!(slots.held() <= limit as usize);
            }
        }

        /// Whoever gives back a lease leaves every other lease as it was.
        #[test]
        fn giving_back_one_lease_touches_no_other(takes in prop::collection::vec((0..4u8, 0..9u8), 1..40), which in (0..4u8, 0..9u8)) {
            let mut slots = Slots::default();
            for (number, under) in takes {
                let _ = slots.take(job(number), lease(under), at(10), 3);
            }
            let others = |slots: &Slots| {
                let mut others = slots.holders().to_vec();
                others.retain(|holder| (holder.job, holder.lease) != (job(which.0), lease(which.1)));
                others
            };
            let before = others(&slots);
            let _ = slots.release(job(which.0), lease(which.1));
            prop_assert_eq!(slots.holders(), before);
        }

        /// Who is told first was refused first.
        #[test]
        fn the_line_is_first_in_first_out(order in Just((1..40u8).collect::<Vec<_>>()).prop_shuffle(), again in prop::collection::vec(1..40u8, 0..40)) {
            let mut slots = Slots::default();
            prop_assert_eq!(slots.take(job(0), lease(0), at(10), 1), Slot::Granted);
            for &number in order.iter().chain(&again) {
                prop_assert_eq!(slots.take(job(number), lease(number), at(10), 1), Slot::Refused);
            }
            let (mut told, mut holder) = (Vec::new(), 0);
            while let Some(next) = slots.release(job(holder), lease(holder)) {
                holder = next.as_bytes()[0];
                told.push(holder);
                prop_assert_eq!(slots.take(next, lease(holder), at(10), 1), Slot::Granted);
            }
            prop_assert_eq!(told, order);
        }
    }
}
