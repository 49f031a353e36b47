//! Turns: the lanes of a band share its room alike, and the one that was rung for least lately goes first. So a
//! newcomer's jobs go ahead of a flood's, and many lanes get their turns although there is room for few.

use std::{
    cmp::Ordering,
    collections::HashMap,
    time::{Duration, Instant},
};

use gristmill_common::job::{Job, Lane};

/// What was rung for counts half after this time.
const HALF: Duration = Duration::from_secs(1);
/// What counts less than this is forgotten.
const NOTHING: f64 = 0.01;

/// How many jobs of each lane were rung for lately.
#[derive(Default)]
pub(super) struct Turns {
    rung: HashMap<Lane, f64>,
    counted: Option<Instant>,
}

impl Turns {
    /// The lanes, the one that was rung for least lately first.
    pub(super) fn in_order<'a>(&mut self, lanes: &'a [Lane], now: Instant) -> Vec<&'a Lane> {
        if let Some(counted) = self.counted.replace(now) {
            let kept = 0.5_f64.powf((now - counted).as_secs_f64() / HALF.as_secs_f64());
            self.rung.retain(|_, rung| {
                *rung *= kept;
                *rung > NOTHING
            });
        }
        let mut order: Vec<&Lane> = lanes.iter().collect();
        let rung = |lane: &Lane| self.rung.get(lane).copied().unwrap_or(0.0);
        order.sort_by(|one, other| rung(one).partial_cmp(&rung(other)).unwrap_or(Ordering::Equal));
        order
    }

    /// Notes that these are rung for.
    pub(super) fn count(&mut self, jobs: &[Job]) {
        for job in jobs {
            *self.rung.entry(job.lane()).or_default() += 1.0;
        }
    }
}

/// What one lane of so many may have of the room that is left: what it does not need is left to the others.
pub(super) fn share(room: usize, lanes: usize) -> usize {
    room.div_ceil(lanes.max(1)).max(1)
}

/// One of each lane in turn.
pub(super) fn one_of_each(lanes: Vec<Vec<Job>>) -> Vec<Job> {
    let longest = lanes.iter().map(Vec::len).max().unwrap_or(0);
    let mut lanes: Vec<_> = lanes.into_iter().map(Vec::into_iter).collect();
    (0..longest).flat_map(|_| lanes.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use gristmill_common::{JobId, QueueName, Timestamp, job::JobKey, job::Priority};

    use super::*;

    fn lane(tenant: &str) -> Lane {
        Lane { queue: QueueName::default(), priority: Priority::Normal, tenant: tenant.parse().expect("a name") }
    }

    fn jobs(tenant: &str, number: usize) -> Vec<Job> {
        let job = |_| {
            let key = JobKey { tenant: tenant.parse().expect("a name"), id: JobId::fresh() };
            Job::accepted(key, "sleep".parse().expect("a name"), Timestamp::from_millis(0))
        };
        (0..number).map(job).collect()
    }

    #[test]
    fn the_lane_that_was_rung_for_least_goes_first() {
        let (lanes, mut turns, now) = ([lane("a"), lane("b"), lane("c")], Turns::default(), Instant::now());
        let order = |turns: &mut Turns, now| {
            turns.in_order(&lanes, now).iter().map(|lane| lane.tenant.to_string()).collect::<String>()
        };
        assert_eq!(order(&mut turns, now), "abc");
        turns.count(&jobs("a", 100));
        turns.count(&jobs("b", 1));
        assert_eq!(order(&mut turns, now), "cba");
        turns.count(&jobs("c", 2));
        assert_eq!(order(&mut turns, now + HALF), "bca");
        turns.count(&jobs("b", 10));
        assert_eq!(order(&mut turns, now + 20 * HALF), "abc", "what is long ago does not count");
    }

    #[test]
    fn lanes_take_turns_one_job_at_a_time() {
        let order = one_of_each(vec![jobs("a", 1), jobs("b", 3), jobs("c", 2)]);
        let order: String = order.iter().map(|job| job.key.tenant.to_string()).collect();
        assert_eq!(order, "abcbcb");
        assert_eq!((share(10, 3), share(0, 3), share(10, 0)), (4, 1, 10));
    }
}
