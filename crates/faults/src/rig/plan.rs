//! What a seed decides: the jobs, the faults, and when they come. Not what the threads make of it: the same seed
//! injects the same faults at the same times, and meets another interleaving each time.

use std::time::Duration;

use gristmill_common::{State, job::Priority};
use gristmill_engine::Lead;
use serde_json::{Value, json};

use crate::{
    oracle::{Group, Promise},
    witness::Part,
};

/// How long faults are injected, in milliseconds.
const SPAN_MS: u64 = 1_000;
/// How many jobs a schedule has.
const JOBS: std::ops::RangeInclusive<usize> = 30..=60;
/// How far clocks are set.
const STEP_MS: i64 = 60_000;

/// Jobs of which two may run at once.
const PAIR: Group = Group { name: "the pair's key", most: 2 };
/// Jobs of which one may be there at a time.
const LONE: [Group; 2] = [Group { name: "one", most: 1 }, Group { name: "other", most: 1 }];

/// One schedule of faults, and the load under it.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<NodePlan>,
    /// What is done when, the earliest first.
    pub(crate) actions: Vec<(Duration, Action)>,
    /// What is submitted when, the earliest first.
    pub(crate) drafts: Vec<Draft>,
    /// What becomes of the instants that the one cron schedule has missed, if there is one.
    pub(crate) missed: Option<&'static str>,
}

/// How a node's store and broker behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodePlan {
    pub(crate) rates: Rates,
    /// Whether it leads, whoever else does.
    pub(crate) lead: Lead,
}

/// How often calls and messages go wrong, in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) late: u32,
    pub(crate) refused: u32,
    pub(crate) reply_lost: u32,
    pub(crate) broker_away: u32,
    pub(crate) dropped: u32,
    pub(crate) doubled: u32,
}

/// What is done to a node, or to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends a node where it stands.
    Kill(usize),
    /// Asks a node to stop.
    Drain(usize),
    /// Starts a node where there is none.
    Start(usize),
    /// Stops a node where it stands for a time.
    Freeze(usize, Duration),
    /// Nothing passes between a node and its servers.
    Stall(usize),
    /// It passes again.
    Unstall(usize),
    /// A node's clock is set by so many milliseconds.
    Step(usize, i64),
    /// Everything that waits in the broker is thrown away.
    Purge,
    /// Nothing more is done before this.
    Rest,
}

/// A job to be.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) at: Duration,
    pub(crate) request: Value,
    pub(crate) promise: Promise,
    /// When after its acceptance it is cancelled.
    pub(crate) cancelled_after: Option<Duration>,
    /// A deadline so long after its submission, by the clock of whoever submits it.
    pub(crate) deadline: Option<Duration>,
}

impl Plan {
    /// What this seed decides.
    pub(crate) fn of(seed: u64) -> Self {
        let mut lot = fastrand::Rng::with_seed(seed);
        let nodes: Vec<NodePlan> = (0..lot.usize(2..=3)).map(|_| NodePlan::draw(&mut lot)).collect();
        let mut actions = Vec::new();
        for _ in 0..lot.usize(1..=4) {
            draw_fault(&mut lot, nodes.len(), &mut actions);
        }
        actions.sort_by_key(|(at, _)| *at);
        let mut drafts: Vec<Draft> = (0..lot.usize(JOBS)).map(|_| Draft::draw(&mut lot)).collect();
        drafts.sort_by_key(|draft| draft.at);
        let missed = lot.bool().then(|| ["skip", "fire_once", "fire_all"][lot.usize(0..3)]);
        Self { seed, nodes, actions, drafts, missed }
    }
}

impl NodePlan {
    fn draw(lot: &mut fastrand::Rng) -> Self {
        let mut rate = |most: u32| if lot.bool() { lot.u32(0..=most) } else { 0 };
        let rates = Rates {
            late: rate(60),
            refused: rate(40),
            reply_lost: rate(40),
            broker_away: rate(30),
            dropped: rate(100),
            doubled: rate(200),
        };
        Self { rates, lead: if lot.u8(0..4) == 0 { Lead::Always } else { Lead::Elected } }
    }
}

fn draw_fault(lot: &mut fastrand::Rng, nodes: usize, actions: &mut Vec<(Duration, Action)>) {
    let at = Duration::from_millis(lot.u64(50..SPAN_MS));
    let node = lot.usize(0..nodes);
    match lot.u8(0..10) {
        0..3 => {
            actions.push((at, Action::Kill(node)));
            actions.push((at + ms(lot, 10, 600), Action::Start(node)));
        }
        3 => {
            actions.push((at, Action::Drain(node)));
            actions.push((at + ms(lot, 300, 900), Action::Start(node)));
        }
        4..6 => {
            // Up to twice a lease: the shorter ones end before anybody has noticed.
            let time = ms(lot, 100, 2_400);
            actions.push((at, Action::Freeze(node, time)));
            actions.push((at + time, Action::Rest));
        }
        6..8 => {
            actions.push((at, Action::Stall(node)));
            actions.push((at + ms(lot, 100, 2_400), Action::Unstall(node)));
        }
        8 => {
            // Not all nodes notice at once.
            let step = if lot.bool() { STEP_MS } else { -STEP_MS };
            for node in 0..nodes {
                actions.push((at + ms(lot, 0, 300), Action::Step(node, step)));
            }
        }
        _ => actions.push((at, Action::Purge)),
    }
}

impl Draft {
    fn draw(lot: &mut fastrand::Rng) -> Self {
        const ENDS: Promise = Promise::SUCCEEDS;
        const FAILS: Promise = Promise::of(&[State::Failed], &["on_purpose"]);
        const CANCELLED: Promise = Promise::of(&[State::Succeeded, State::Cancelled], &[]);
        const LATE: Promise = Promise::of(&[State::Succeeded, State::Failed], &["deadline_exceeded"]);
        let at = ms(lot, 0, SPAN_MS);
        let quick = lot.u64(0..30);
        let backoff = json!({"kind": "fixed", "delay_ms": 30});
        let (mut cancelled_after, mut deadline) = (None, None);
        let (part, more, promise) = match lot.u8(0..18) {
            0..3 => (Part { ms: quick, ..Part::default() }, json!({}), ENDS),
            // As long as some leases: it lives on heartbeats.
            3..5 => (Part { ms: lot.u64(300..1_800), ..Part::default() }, json!({}), ENDS),
            5..7 => {
                let part = Part { ms: quick, fails_before: lot.u32(2..=4), for_good: false };
                (part, json!({"max_attempts": 4, "backoff": backoff}), ENDS)
            }
            7 => {
                let part = Part { ms: quick, fails_before: 9, for_good: false };
                (part, json!({"max_attempts": 3, "backoff": backoff}), FAILS)
            }
            8 => (Part { ms: quick, fails_before: 9, for_good: true }, json!({}), FAILS),
            9 => {
                cancelled_after = Some(ms(lot, 0, 400));
                (Part { ms: lot.u64(0..1_000), ..Part::default() }, json!({}), CANCELLED)
            }
            10 => {
                deadline = Some(ms(lot, 50, 800));
                (Part { ms: quick, ..Part::default() }, json!({}), LATE)
            }
            11 => (Part { ms: quick, ..Part::default() }, json!({"delay_ms": lot.u64(10..600)}), ENDS),
            12..14 => {
                let gate = json!({"concurrency": {"key": "pair", "limit": PAIR.most}});
                (Part { ms: 20 + quick, ..Part::default() }, gate, Promise { group: Some(PAIR), ..ENDS })
            }
            14..17 => {
                let group = LONE[lot.usize(0..LONE.len())];
                let gate = json!({"unique": {"key": group.name, "while": "active"}});
                (Part { ms: 20 + quick, ..Part::default() }, gate, Promise { group: Some(group), ..ENDS })
            }
            _ => {
                let gate = json!({"rate_limit": {"key": "slow", "limit": 3, "per_ms": 100}});
                (Part { ms: quick, ..Part::default() }, gate, ENDS)
            }
        };
        let mut request = json!({
            "type": "act",
            "payload": part,
            "priority": Priority::ALL[lot.usize(0..3)],
        });
        merge(&mut request, more);
        Self { at, request, promise, cancelled_after, deadline }
    }
}

fn merge(request: &mut Value, more: Value) {
    if let (Value::Object(request), Value::Object(more)) = (request, more) {
        request.extend(more);
    }
}

fn ms(lot: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(lot.u64(least..=most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..50 {
            let (one, other) = (Plan::of(seed), Plan::of(seed));
            assert_eq!(one.actions, other.actions);
            assert_eq!(format!("{:?} {:?}", one.drafts, one.nodes), format!("{:?} {:?}", other.drafts, other.nodes));
            assert!(one.actions.is_sorted_by_key(|(at, _)| *at));
        }
        assert_ne!(Plan::of(1).actions, Plan::of(2).actions);
    }
}
