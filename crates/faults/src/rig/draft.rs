//! The jobs of a schedule: what is asked for, and what is promised of it.

use std::time::Duration;

use gristmill_common::{QueueRate, State, job::Priority};
use serde_json::{Value, json};

use super::plan::{SPAN_MS, ms};
use crate::{
    oracle::{Group, Promise, Rule},
    witness::Part,
};

/// A rate.
const LIMIT: u32 = 4;
const PER_MS: u64 = 400;
/// The queue that has it.
pub(super) const LIMITED: &str = "limited";
pub(super) const RATE: QueueRate = QueueRate { limit: LIMIT, per_ms: PER_MS };
/// The queue whose jobs fail, and are run again as dead letters.
pub(super) const DEAD: &str = "dead";

const PAIR: Group = Group { name: "pair", rule: Rule::AtOnce(2) };
const LONE: [Group; 2] = [Group { name: "one", rule: Rule::AtOnce(1) }, Group { name: "other", rule: Rule::AtOnce(1) }];
const WAITS: Group = Group { name: "waits", rule: Rule::OneWaits };
const FOR_MS: u64 = 400;
const FOR_A_TIME: Group = Group { name: "for a time", rule: Rule::OneIn(FOR_MS) };
const SLOW: Group = Group { name: "slow", rule: Rule::Rate(LIMIT, PER_MS) };
const SLOW_QUEUE: Group = Group { name: "the limited queue", rule: Rule::Rate(LIMIT, PER_MS) };
const BOUNCES: Group = Group { name: "bounces", rule: Rule::LastCounts };

const ENDS: Promise = Promise::SUCCEEDS;
const FAILS: Promise = Promise::of(&[State::Failed], &["on_purpose"]);
const CANCELLED: Promise = Promise::of(&[State::Succeeded, State::Cancelled], &[]);
const LATE: Promise = Promise::of(&[State::Succeeded, State::Failed], &["deadline_exceeded"]);

/// A job to be.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) at: Duration,
    pub(crate) request: Value,
    pub(crate) promise: Promise,
    /// Whether the answer may be another submission's job.
    pub(crate) may_be_another: bool,
    /// When after its acceptance it is cancelled.
    pub(crate) cancelled_after: Option<Duration>,
    /// A deadline so long after its submission, by the clock of whoever submits it.
    pub(crate) deadline: Option<Duration>,
}

impl Draft {
    /// One job by itself, or one that shares its key with few others.
    pub(super) fn draw(lot: &mut fastrand::Rng) -> Self {
        let quick = lot.u64(0..30);
        let part = Part { ms: quick, ..Part::default() };
        let backoff = json!({"kind": "fixed", "delay_ms": 30});
        match lot.u8(0..20) {
            0..3 => Self::of(lot, part, json!({}), ENDS),
            // As long as some leases: it lives on heartbeats.
            3..5 => {
                let part = Part { ms: lot.u64(300..1_800), ..part };
                Self::of(lot, part, json!({}), ENDS)
            }
            5..7 => {
                let part = Part { fails_before: lot.u32(2..=4), ..part };
                Self::of(lot, part, json!({"max_attempts": 4, "backoff": backoff}), ENDS)
            }
            7 => {
                let part = Part { fails_before: 9, ..part };
                Self::of(lot, part, json!({"max_attempts": 3, "backoff": backoff}), FAILS)
            }
            8 => Self::of(lot, Part { fails_before: 9, for_good: true, ..part }, json!({}), FAILS),
            9 => {
                let part = Part { ms: lot.u64(0..1_000), ..part };
                let cancelled_after = Some(ms(lot, 0, 400));
                Self { cancelled_after, ..Self::of(lot, part, json!({}), CANCELLED) }
            }
            10 => {
                let deadline = Some(ms(lot, 50, 800));
                Self { deadline, ..Self::of(lot, part, json!({}), LATE) }
            }
            11 => {
                let delay = json!({"delay_ms": lot.u64(10..600)});
                Self::of(lot, part, delay, ENDS)
            }
            12 => Self::of_pair(lot),
            13..16 => {
                let group = LONE[lot.usize(0..LONE.len())];
                let gate = json!({"unique": {"key": group.name, "while": "active", "on_conflict": on_conflict(lot)}});
                Self::of_key(lot, Part { ms: 20 + quick, ..part }, gate, group)
            }
            16 => Self::of_rate(lot),
            17..19 => {
                // They fail once, and then only whoever runs them again can help them.
                let part = Part { fails_before: lot.u32(2..=3), ..part };
                Self::of(lot, part, json!({"max_attempts": 1, "backoff": backoff, "queue": DEAD}), ENDS)
            }
            _ => Self::of_debounce(lot),
        }
    }

    /// Many that share a key, at times.
    pub(super) fn draw_crowd(lot: &mut fastrand::Rng) -> Vec<Self> {
        let of_one: fn(&mut fastrand::Rng) -> Self = match lot.u8(0..8) {
            0 => Self::of_pair,
            1 => Self::of_rate,
            2 => Self::of_limited_queue,
            3 => Self::of_waiting,
            4 => Self::of_time,
            5 => Self::of_debounce,
            _ => return Vec::new(),
        };
        (0..lot.usize(6..=14)).map(|_| of_one(lot)).collect()
    }

    fn of(lot: &mut fastrand::Rng, part: Part, more: Value, promise: Promise) -> Self {
        let mut request = json!({"type": "act", "payload": part, "priority": Priority::ALL[lot.usize(0..3)]});
        merge(&mut request, more);
        let at = ms(lot, 0, SPAN_MS);
        Self { at, request, promise, may_be_another: false, cancelled_after: None, deadline: None }
    }

    fn of_key(lot: &mut fastrand::Rng, part: Part, gate: Value, group: Group) -> Self {
        let may_be_another = gate["unique"]["on_conflict"] == "return_existing" || gate["debounce"].is_object();
        Self { may_be_another, ..Self::of(lot, part, gate, Promise { group: Some(group), ..ENDS }) }
    }

    fn of_pair(lot: &mut fastrand::Rng) -> Self {
        let part = Part { ms: lot.u64(20..50), ..Part::default() };
        Self::of_key(lot, part, json!({"concurrency": {"key": PAIR.name, "limit": 2}}), PAIR)
    }

    fn of_rate(lot: &mut fastrand::Rng) -> Self {
        let gate = json!({"rate_limit": {"key": SLOW.name, "limit": LIMIT, "per_ms": PER_MS}});
        Self::of_key(lot, Part::default(), gate, SLOW)
    }

    fn of_limited_queue(lot: &mut fastrand::Rng) -> Self {
        Self::of_key(lot, Part::default(), json!({"queue": LIMITED}), SLOW_QUEUE)
    }

    fn of_waiting(lot: &mut fastrand::Rng) -> Self {
        let unique = json!({"key": WAITS.name, "while": "queued", "on_conflict": on_conflict(lot)});
        let gate = if lot.bool() {
            json!({"unique": unique, "delay_ms": lot.u64(10..300)})
        } else {
            json!({"unique": unique})
        };
        Self::of_key(lot, Part::default(), gate, WAITS)
    }

    fn of_time(lot: &mut fastrand::Rng) -> Self {
        let while_ = json!({"for_ms": FOR_MS});
        let gate = json!({"unique": {"key": FOR_A_TIME.name, "while": while_, "on_conflict": on_conflict(lot)}});
        Self::of_key(lot, Part::default(), gate, FOR_A_TIME)
    }

    fn of_debounce(lot: &mut fastrand::Rng) -> Self {
        let gate = json!({"debounce": {"key": BOUNCES.name, "wait_ms": 120, "max_wait_ms": 500}});
        Self::of_key(lot, Part::default(), gate, BOUNCES)
    }
}

fn on_conflict(lot: &mut fastrand::Rng) -> &'static str {
    if lot.u8(0..3) == 0 { "return_existing" } else { "reject" }
}

fn merge(request: &mut Value, more: Value) {
    if let (Value::Object(request), Value::Object(more)) = (request, more) {
        request.extend(more);
    }
}
