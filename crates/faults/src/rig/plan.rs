//! What a seed decides: the jobs, the faults, and when they come. Not what the threads make of it: the same seed
//! injects the same faults at the same times, and meets another interleaving each time.

use std::time::Duration;

use gristmill_engine::Lead;

use super::draft::Draft;

/// How long faults are injected, in milliseconds.
pub(super) const SPAN_MS: u64 = 1_000;
/// How many jobs a schedule has.
const JOBS: std::ops::RangeInclusive<usize> = 30..=60;
/// How far clocks are set.
const STEP_MS: i64 = 60_000;

/// One schedule of faults, and the load under it.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<NodePlan>,
    /// What is done when, the earliest first.
    pub(crate) actions: Vec<(Duration, Action)>,
    /// What is submitted when, the earliest first.
    pub(crate) drafts: Vec<Draft>,
    /// The one cron schedule, if there is one.
    pub(crate) cron: Option<CronPlan>,
}

/// A schedule that fires each second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CronPlan {
    pub(crate) missed: &'static str,
    pub(crate) overlap: &'static str,
    /// For how long its jobs run.
    pub(crate) ms: u64,
    /// Whether it is still there when all clocks are moved in the end.
    pub(crate) stays: bool,
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
    /// Dead letters are run again, by a node.
    Replay(usize),
    /// Nothing more is done before this.
    Rest,
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
        for _ in 0..lot.usize(0..=2) {
            actions.push((ms(&mut lot, 300, SPAN_MS), Action::Replay(lot.usize(0..nodes.len()))));
        }
        actions.sort_by_key(|(at, _)| *at);
        let mut drafts: Vec<Draft> = (0..lot.usize(JOBS)).map(|_| Draft::draw(&mut lot)).collect();
        drafts.extend(Draft::draw_crowd(&mut lot));
        drafts.sort_by_key(|draft| draft.at);
        let cron = lot.bool().then(|| CronPlan::draw(&mut lot));
        Self { seed, nodes, actions, drafts, cron }
    }

    /// Whether a clock is set.
    pub(crate) fn sets_clocks(&self) -> bool {
        self.actions.iter().any(|(_, action)| matches!(action, Action::Step(..)))
    }
}

impl CronPlan {
    fn draw(lot: &mut fastrand::Rng) -> Self {
        let missed = ["skip", "fire_once", "fire_all"][lot.usize(0..3)];
        let overlap = ["allow", "skip", "replace"][lot.usize(0..3)];
        let ms = if overlap == "allow" { 0 } else { lot.u64(0..1_500) };
        Self { missed, overlap, ms, stays: lot.bool() }
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

pub(super) fn ms(lot: &mut fastrand::Rng, least: u64, most: u64) -> Duration {
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
            assert_eq!(
                format!("{:?} {:?} {:?}", one.drafts, one.nodes, one.cron),
                format!("{:?} {:?} {:?}", other.drafts, other.nodes, other.cron)
            );
            assert!(one.actions.is_sorted_by_key(|(at, _)| *at));
        }
        assert_ne!(Plan::of(1).actions, Plan::of(2).actions);
    }
}
