//! Gates: what some dispatches have to pass before their jobs are claimed: a slot, then tokens, then the claim. They
//! pass in a task of their own, so that those without gates never wait for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use gristmill_common::{
    BandKey, LeaseId, QueueName, Timestamp,
    job::{Change, JobKey},
};
use gristmill_storage::{RegisterKey, StoreError, Whom};
use tokio::sync::mpsc;

use super::{
    Worker,
    claim::{Picked, Round},
    inbox::InHand,
    slots::slots_key_of,
};

/// How long a job is parked for want of a slot, unless it is told of one before: so long, and up to as much again
/// by lot, so that not all of them come back at once.
const PARKED_FOR: Duration = Duration::from_secs(5);
/// How much longer at the most, by lot as well, if the line was full: nobody tells it, and there may be thousands.
const LONGER_OUTSIDE: Duration = Duration::from_secs(55);
/// A job that has a token so soon is rung for here at that moment, and parked for a little longer: no scheduler looks
/// so often.
const SOON: Duration = Duration::from_secs(2);
/// How much longer. By then its last ring is forgotten by whoever rang.
const LEFT_TO_THE_SCHEDULER_AFTER: Duration = Duration::from_millis(1_500);
/// How long to wait after the gates could not be asked.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How many candidates are asked for at once.
const MOST_AT_ONCE: usize = 1_000;

/// A dispatch on its way to a claim.
pub(super) struct Candidate {
    /// The lease that its job is to be claimed under.
    pub(super) lease: LeaseId,
    pub(super) band: BandKey,
    pub(super) in_hand: InHand,
    /// Where it comes from: 0 from among the others, 1 from those that were rescued once, 2 from those that must be
    /// alone.
    pub(super) rescues: u32,
}

/// What a job is parked by.
#[derive(Clone, Copy)]
enum Gate {
    Concurrency,
    RateLimit,
}

/// A job that is to wait.
struct Refused {
    candidate: Candidate,
    gate: Gate,
    until: Timestamp,
    /// When it is to be rung for here.
    soon: Option<Instant>,
}

/// How many dispatches are on their way through the gates.
#[derive(Default)]
pub(super) struct AtGates(Mutex<There>);

#[derive(Default)]
struct There {
    queues: BTreeMap<QueueName, usize>,
    /// Those that must be alone.
    alone: usize,
}

impl AtGates {
    pub(super) fn len(&self) -> usize {
        self.there().queues.values().sum()
    }

    pub(super) fn count_of(&self, queue: &QueueName) -> usize {
        self.there().queues.get(queue).copied().unwrap_or(0)
    }

    pub(super) fn has_one_alone(&self) -> bool {
        self.there().alone > 0
    }

    fn enter(&self, candidate: &Candidate) {
        let mut there = self.there();
        there.alone += usize::from(candidate.rescues > 1);
        *there.queues.entry(candidate.band.queue.clone()).or_default() += 1;
    }

    fn leave(&self, candidates: Vec<Seen>) {
        let mut there = self.there();
        for Seen { queue, is_alone } in candidates {
            there.alone -= usize::from(is_alone);
            if let Some(count) = there.queues.get_mut(&queue) {
                *count -= 1;
                if *count == 0 {
                    there.queues.remove(&queue);
                }
            }
        }
    }

    fn there(&self) -> MutexGuard<'_, There> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A candidate that was at the gates.
struct Seen {
    queue: QueueName,
    is_alone: bool,
}

/// On the way to the gates.
pub(super) type ToGates = mpsc::UnboundedSender<Candidate>;

impl Worker {
    /// Whether a dispatch has to pass any gate.
    pub(super) fn has_gates(&self, band: &BandKey, in_hand: &InHand) -> bool {
        in_hand.dispatch.gates.is_some() || self.0.queue_rates.of(&band.queue).is_some()
    }

    pub(super) fn send_to_gates(&self, to_gates: &ToGates, candidate: Candidate) {
        self.0.at_gates.enter(&candidate);
        // It fails at the shutdown only, and then there is nothing more to claim.
        let _ = to_gates.send(candidate);
    }

    /// Lets candidates through the gates, all that have come at a time, until the shutdown.
    pub(super) async fn keep_gates(self, mut coming: mpsc::UnboundedReceiver<Candidate>) {
        loop {
            let mut candidates = Vec::new();
            tokio::select! {
                () = self.0.engine.shutdown().cancelled() => return,
                came = coming.recv_many(&mut candidates, MOST_AT_ONCE) => if came == 0 { return },
            }
            let seen =
                |candidate: &Candidate| Seen { queue: candidate.band.queue.clone(), is_alone: candidate.rescues > 1 };
            let seen = candidates.iter().map(seen).collect();
            let undecided = self.claim_through_gates(candidates).await;
            self.0.at_gates.leave(seen);
            self.0.room.notify_waiters();
            if !undecided.is_empty() {
                // Meanwhile they take up no room.
                tokio::time::sleep(ASK_AGAIN).await;
                self.0.inbox.put_back_where_they_were(undecided);
                self.0.room.notify_waiters();
            }
        }
    }

    /// Takes slots, then tokens, and claims the jobs of those that have got all they need. Returns those that the gates
    /// could not be asked for.
    async fn claim_through_gates(&self, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let candidates = each_job_once(candidates);
        let (candidates, mut undecided) = match self.still_to_be_claimed(&candidates).await {
            Some(rescues) => (self.sort_rescued(candidates, &rescues), Vec::new()),
            None => (Vec::new(), candidates),
        };
        let term = self.begin_term();
        let mut slots = self.take_slots(candidates, &term).await;
        let mut tokens = self.take_tokens(mem::take(&mut slots.granted), &term).await;
        if term.is_half_over() {
            // The store is too slow for a claim now.
            tokens.undecided.append(&mut tokens.granted);
        }
        let refused = tokens.refused.iter().map(|(candidate, _)| candidate);
        let without_tokens = tokens.in_hand.iter().chain(&tokens.undecided).chain(&tokens.for_newer).chain(refused);
        without_tokens.for_each(|candidate| self.give_slot_back(&candidate.in_hand, candidate.lease));
        undecided.append(&mut slots.undecided);
        undecided.append(&mut tokens.undecided);
        self.0.inbox.put_back_where_they_were(tokens.in_hand);
        slots.for_newer.append(&mut tokens.for_newer);
        let refused = self.told_until(slots.refused, &slots.in_line, tokens.refused);
        let rounds = rounds_of(tokens.granted);
        let claims = join_all(rounds.into_iter().map(|round| self.claim(round, &term)));
        let park = self.park(refused, slots.in_line);
        let (_, mut not_parked, ()) = tokio::join!(claims, park, self.leave_to_newer(slots.for_newer));
        undecided.append(&mut not_parked);
        undecided
    }

    /// Which of their jobs are queued, and how often those were rescued: the others need neither slots nor tokens, which
    /// they would use up in vain. None if that cannot be read.
    async fn still_to_be_claimed(&self, candidates: &[Candidate]) -> Option<BTreeMap<JobKey, u32>> {
        let keys: Vec<JobKey> = candidates.iter().map(|candidate| candidate.in_hand.dispatch.key()).collect();
        let waiting = self.0.not_sorted.after(self.0.engine.store().waiting(&keys).await)?;
        Some(waiting.into_iter().map(|job| (job.key, job.rescues)).collect())
    }

    /// Is done with the dispatches of jobs that are not queued, and sets those aside that the claim would refuse among
    /// these; returns the others.
    fn sort_rescued(&self, candidates: Vec<Candidate>, rescues: &BTreeMap<JobKey, u32>) -> Vec<Candidate> {
        let mut to_be_claimed = Vec::new();
        for candidate in candidates {
            match rescues.get(&candidate.in_hand.dispatch.key()) {
                None => candidate.in_hand.ack(),
                Some(&rescues) if rescues.min(2) > candidate.rescues => {
                    self.0.inbox.set_aside(&candidate.band, candidate.in_hand, rescues);
                }
                Some(_) => to_be_claimed.push(candidate),
            }
        }
        to_be_claimed
    }

    /// Passes those on whose registers a newer build has written: newer workers can read them.
    async fn leave_to_newer(&self, candidates: Vec<Candidate>) {
        if !candidates.is_empty() {
            self.0.not_known.met(&"unknown version");
            let in_hand = candidates.into_iter().map(|candidate| candidate.in_hand).collect();
            self.put_off(in_hand, |job, now| job.pass_on(now)).await;
        }
    }

    fn told_until(
        &self,
        by_slots: Vec<Candidate>,
        in_line: &BTreeMap<JobKey, RegisterKey>,
        by_tokens: Vec<(Candidate, Timestamp)>,
    ) -> Vec<Refused> {
        let now = self.0.engine.now();
        let by_slots = by_slots.into_iter().map(|candidate| {
            let is_in_line = in_line.contains_key(&candidate.in_hand.dispatch.key());
            let by_lot = if is_in_line { PARKED_FOR } else { LONGER_OUTSIDE };
            let until = now + PARKED_FOR + by_lot.mul_f64(fastrand::f64());
            Refused { candidate, gate: Gate::Concurrency, until, soon: None }
        });
        let by_tokens = by_tokens.into_iter().map(|(candidate, at)| {
            let wait = at.since(now);
            let soon = (wait < SOON).then(|| Instant::now() + wait);
            let until = if soon.is_some() { at + LEFT_TO_THE_SCHEDULER_AFTER } else { at };
            Refused { candidate, gate: Gate::RateLimit, until, soon }
        });
        by_slots.chain(by_tokens).collect()
    }

    /// Parks jobs, and is done with their dispatches: of a job that cannot be parked, somebody else sees to it. Returns
    /// all of them if the store did not do it.
    async fn park(&self, refused: Vec<Refused>, in_line: BTreeMap<JobKey, RegisterKey>) -> Vec<Candidate> {
        if refused.is_empty() {
            return Vec::new();
        }
        let by_key: BTreeMap<JobKey, (Gate, Timestamp)> = refused
            .iter()
            .map(|refused| (refused.candidate.in_hand.dispatch.key(), (refused.gate, refused.until)))
            .collect();
        let Some(parked) = self.0.not_parked.after(self.write_parked(&by_key).await) else {
            return refused.into_iter().map(|refused| refused.candidate).collect();
        };
        // Their rings are answered, though not by a claim.
        self.0.engine.0.bell.answered(parked.iter());
        for key in &parked {
            if let Some((gate, _)) = by_key.get(key) {
                metrics::counter!("gristmill_jobs_parked_total", "gate" => gate.as_str()).increment(1);
            }
        }
        let soon = refused.iter().filter_map(|refused| Some((refused.soon?, refused.candidate.in_hand.dispatch.key())));
        self.0.releases.tell_at(soon);
        refused.into_iter().for_each(|refused| refused.candidate.in_hand.ack());
        let told = self.no_longer_in_line(in_line).await;
        self.0.releases.tell(told.into_iter().filter(|key| parked.contains(key)));
        Vec::new()
    }

    async fn write_parked(&self, by_key: &BTreeMap<JobKey, (Gate, Timestamp)>) -> Result<Vec<JobKey>, StoreError> {
        let store = self.0.engine.store();
        let keys: Vec<JobKey> = by_key.keys().cloned().collect();
        let waiting = store.waiting(&keys).await?;
        let now = self.0.engine.now();
        let parks = waiting.iter().filter_map(|job| job.park(now, by_key.get(&job.key)?.1).ok());
        let parks: Vec<Change> = parks.collect();
        if parks.is_empty() {
            return Ok(Vec::new());
        }
        Ok(store.apply(parks).await?.into_iter().flatten().map(|job| job.key).collect())
    }

    /// Gives back the slot that was taken for a dispatch under this lease, or may have been.
    pub(super) fn give_slot_back(&self, in_hand: &InHand, lease: LeaseId) {
        if let Some(key) = slots_key_of(&in_hand.dispatch) {
            self.0.releases.release(key, in_hand.dispatch.job_id, lease);
        }
    }
}

impl Candidate {
    pub(super) fn new(band: BandKey, in_hand: InHand, rescues: u32) -> Self {
        Self { lease: LeaseId::fresh(), band, in_hand, rescues }
    }
}

impl Gate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// The first dispatch of each job, in order; a doubled one is done with at once. Those that were never rescued are put
/// under one lease, so that one write claims them: two of one job must not be among them, for what the one gave back
/// would be the other's.
fn each_job_once(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let (mut seen, mut once, lease) = (BTreeSet::new(), Vec::new(), LeaseId::fresh());
    for mut candidate in candidates {
        if seen.insert(candidate.in_hand.dispatch.key()) {
            if candidate.rescues == 0 {
                candidate.lease = lease;
            }
            once.push(candidate);
        } else {
            candidate.in_hand.ack();
        }
    }
    once
}

/// What is claimed under each lease.
fn rounds_of(candidates: Vec<Candidate>) -> Vec<Round> {
    let mut rounds: BTreeMap<LeaseId, Round> = BTreeMap::new();
    for Candidate { lease, band, in_hand, rescues } in candidates {
        let whom = if rescues == 0 { Whom::NeverRescued } else { Whom::Any };
        let round = rounds.entry(lease).or_insert_with(|| Round { lease, whom, picked: Picked::new() });
        round.pick(band, in_hand);
    }
    rounds.into_values().collect()
}
