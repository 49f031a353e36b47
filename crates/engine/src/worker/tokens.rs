//! Tokens: a job with a rate key, or in a queue with a rate limit, takes one of each before it is claimed. It takes all
//! that it needs or none, so that jobs which one limit holds back do not use up another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use gristmill_common::{
    QueueName, Timestamp,
    limits::{Grant, Rate, Turns},
};
use gristmill_storage::{Register, RegisterKey, Space};
use serde::Deserialize;

use super::{
    Worker,
    claim::Term,
    gates::Candidate,
    queue_rates::queue_rate_key,
    registers::{MOST_TRIES, before_try, swap_to},
};
use crate::board::to_json;

/// Of so many keys the turns are remembered, before those that are over are forgotten.
const MOST_TURNS: usize = 1_000;

/// How candidates fared.
#[derive(Default)]
pub(super) struct TokensTaken {
    /// They have what they need.
    pub(super) granted: Vec<Candidate>,
    /// Their key has none before this time.
    pub(super) refused: Vec<(Candidate, Timestamp)>,
    /// Their queue has none: they stay in hand.
    pub(super) in_hand: Vec<Candidate>,
    /// Others were faster again and again, or the store did not answer.
    pub(super) undecided: Vec<Candidate>,
    /// A newer build has written one of their registers.
    pub(super) for_newer: Vec<Candidate>,
}

/// When those come back that keys had no token for, over all batches.
#[derive(Default)]
pub(super) struct TurnsTold(Mutex<BTreeMap<RegisterKey, Turns>>);

impl TurnsTold {
    fn next(&self, key: &RegisterKey, grant: &Grant, now: Timestamp) -> Timestamp {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MOST_TURNS && !told.contains_key(key) {
            told.retain(|_, turns| !turns.are_over(now));
        }
        if told.len() >= MOST_TURNS && !told.contains_key(key) {
            return grant.next_at;
        }
        grant.turn(told.entry(key.clone()).or_default())
    }
}

/// A limit that a candidate comes under.
struct Limit {
    key: RegisterKey,
    limit: u32,
    per_ms: u64,
}

/// What a candidate needs.
struct Asking {
    candidate: Candidate,
    of_key: Option<Limit>,
    of_queue: Option<Limit>,
}

/// How a candidate fares if the swaps are made.
enum Planned {
    Granted,
    Refused(Grant),
    QueueShut,
    /// One of its registers could not be read just now.
    Unknown,
    /// A newer build has written one of its registers.
    ForNewer,
}

/// The rates of one try.
struct Rates {
    read: BTreeMap<RegisterKey, (Option<Register>, Rate)>,
    now: BTreeMap<RegisterKey, Rate>,
    /// What a newer build has written.
    newer: BTreeSet<RegisterKey>,
    /// The queues without a token, and when there is one.
    shut: BTreeMap<QueueName, Timestamp>,
}

impl Worker {
    /// Takes the tokens that candidates need.
    pub(super) async fn take_tokens(&self, candidates: Vec<Candidate>, term: &Term) -> TokensTaken {
        let mut taken = TokensTaken::default();
        let mut pending = Vec::new();
        for candidate in candidates {
            let asking = self.what_it_needs(candidate);
            match asking {
                Asking { candidate, of_key: None, of_queue: None } => taken.granted.push(candidate),
                asking => pending.push(asking),
            }
        }
        for number in 0..MOST_TRIES {
            if pending.is_empty() || term.is_half_over() {
                break;
            }
            before_try(number).await;
            pending = self.try_to_take_tokens(pending, &mut taken).await;
        }
        taken.undecided = pending.into_iter().map(|asking| asking.candidate).collect();
        taken
    }

    fn what_it_needs(&self, candidate: Candidate) -> Asking {
        let dispatch = &candidate.in_hand.dispatch;
        let gate = dispatch.gates.as_ref().and_then(|gates| gates.rate_limit.as_ref());
        let of_key = gate.map(|gate| {
            let key =
                RegisterKey { space: Space::Rate, tenant: dispatch.tenant.clone(), name: gate.key.as_str().to_owned() };
            Limit { key, limit: gate.limit, per_ms: gate.per_ms }
        });
        let queue = &candidate.band.queue;
        let of_queue = self.0.queue_rates.of(queue).map(|rate| Limit {
            key: queue_rate_key(queue),
            limit: rate.limit,
            per_ms: rate.per_ms,
        });
        Asking { candidate, of_key, of_queue }
    }

    /// One try; returns those that it did not decide on.
    async fn try_to_take_tokens(&self, pending: Vec<Asking>, taken: &mut TokensTaken) -> Vec<Asking> {
        let read = self.read_registers(pending.iter().flat_map(Asking::keys).cloned().collect()).await;
        let now = self.0.engine.now();
        let mut rates = Rates::of(read);
        let planned: Vec<Planned> = pending.iter().map(|asking| rates.plan(asking, now)).collect();
        let mut swaps = Vec::new();
        for (key, rate) in &rates.now {
            let (register, before) = &rates.read[key];
            if rate != before
                && let Ok(value) = to_json(rate)
            {
                swaps.extend(swap_to(key, register.as_ref(), Some((value, Some(rate.idle_at())))));
            }
        }
        let mut open: BTreeSet<RegisterKey> = swaps.iter().map(|swap| swap.key.clone()).collect();
        // Tokens of a swap that is open may be lost; there are never too many.
        for made in self.swap_registers(swaps).await.into_iter().flatten() {
            open.remove(&made);
        }
        let mut again = Vec::new();
        for (asking, planned) in pending.into_iter().zip(planned) {
            if asking.keys().any(|key| open.contains(key)) {
                again.push(asking);
                continue;
            }
            match planned {
                Planned::Granted => taken.granted.push(asking.candidate),
                Planned::Refused(grant) => {
                    let until = asking.of_key.as_ref().map(|limit| self.0.turns_told.next(&limit.key, &grant, now));
                    taken.refused.push((asking.candidate, until.unwrap_or(grant.next_at)));
                }
                Planned::QueueShut => {
                    let queue = &asking.candidate.band.queue;
                    if let Some(&until) = rates.shut.get(queue) {
                        self.0.queue_rates.shut(queue, until);
                    }
                    taken.in_hand.push(asking.candidate);
                }
                Planned::Unknown => again.push(asking),
                Planned::ForNewer => taken.for_newer.push(asking.candidate),
            }
        }
        again
    }
}

impl Asking {
    fn keys(&self) -> impl Iterator<Item = &RegisterKey> {
        self.of_key.iter().chain(&self.of_queue).map(|limit| &limit.key)
    }
}

impl Rates {
    fn of(registers: BTreeMap<RegisterKey, Option<Register>>) -> Self {
        let (mut read, mut newer) = (BTreeMap::new(), BTreeSet::new());
        for (key, register) in registers {
            match register.as_ref().map_or(Ok(Rate::default()), |register| Rate::deserialize(&register.value)) {
                Ok(rate) => drop(read.insert(key, (register, rate))),
                Err(_) => drop(newer.insert(key)),
            }
        }
        let now = read.iter().map(|(key, (_, rate))| (key.clone(), *rate)).collect();
        Self { read, now, newer, shut: BTreeMap::new() }
    }

    fn plan(&mut self, asking: &Asking, now: Timestamp) -> Planned {
        if asking.keys().any(|key| self.newer.contains(key)) {
            return Planned::ForNewer;
        }
        let mut after = Vec::new();
        if let Some(Limit { key, limit, per_ms }) = &asking.of_key {
            let Some(mut rate) = self.now.get(key).copied() else { return Planned::Unknown };
            let grant = rate.take(1, *limit, *per_ms, now);
            if grant.granted == 0 {
                return Planned::Refused(grant);
            }
            after.push((key, rate));
        }
        if let Some(Limit { key, limit, per_ms }) = &asking.of_queue {
            let Some(mut rate) = self.now.get(key).copied() else { return Planned::Unknown };
            // Another may have taken one under the numbers before, which it had not forgotten yet.
            rate.forget_other_numbers(*limit, *per_ms, now);
            let grant = rate.take(1, *limit, *per_ms, now);
            if grant.granted == 0 {
                self.now.insert(key.clone(), rate);
                self.shut.insert(asking.candidate.band.queue.clone(), grant.next_at);
                return Planned::QueueShut;
            }
            after.push((key, rate));
        }
        for (key, rate) in after {
            self.now.insert(key.clone(), rate);
        }
        Planned::Granted
    }
}
