//! A rate limit, as one number: the generic cell rate algorithm.
//! Source: ITU-T I.371, annex A, "virtual scheduling"; <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, limits::Version};

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;
/// How far the clocks of askers may be apart: for such a difference nothing is forgotten.
const CLOCKS_DIFFER: u64 = 2_000 * NANOS;
/// Those who are refused are told different times as far ahead as this, or as this many starts, if that is further.
const TURNS_AHEAD: u64 = 60_000 * NANOS;
const MOST_TURNS: u64 = 256;

/// What one key has used of its rate.
///
/// **The bound.** Let `T` be `per_ms / limit`, rounded up to a nanosecond. In any stretch of time of length `w`, both
/// ends included, at most `limit + w / T` are granted: a burst of `limit`, and one more for each `T` that passes. In
/// one period of `per_ms` that is at most twice `limit`, and over a long time it is `limit` in each period.
///
/// If askers of one key say different limits, each waits for what all of them have taken. A key whose limit is
/// raised waits out what was taken under the old one, at most one old period, unless it is told to
/// [forget](Rate::forget_other_numbers) that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    v: Version<1>,
    /// The theoretical arrival time: when all that was granted will have been worked off. Nanoseconds since 1970,
    /// because of a million a second each is a microsecond.
    tat: u64,
}

/// How many of those who asked may start, and when the others may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// How many may start now.
    pub granted: u32,
    /// When the first of the others may, if nobody else comes before.
    pub next_at: Timestamp,
    /// Nanoseconds since 1970 of the same, and from each to the next.
    first: u64,
    interval: u64,
}

/// The times that were told to those who were refused: each is told another, so that they do not all come back at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turns {
    /// The last one, in nanoseconds since 1970.
    last: u64,
}

impl Rate {
    /// Takes as many of `wanted` starts as there are. `limit` in `per_ms` is the rate; both at least 1.
    pub fn take(&mut self, wanted: u32, limit: u32, per_ms: u64, now: Timestamp) -> Grant {
        let (interval, burst) = interval_and_burst(limit, per_ms);
        let now = nanos(now);
        let begin = self.tat.max(now);
        let free = (now.saturating_add(burst).saturating_sub(begin)) / interval;
        let granted = u32::try_from(free).unwrap_or(u32::MAX).min(wanted);
        if granted > 0 {
            self.tat = begin.saturating_add(interval.saturating_mul(u64::from(granted)));
        }
        let first = self.tat.saturating_add(interval).saturating_sub(burst).max(now);
        Grant { granted, next_at: moment(first), first, interval }
    }

    /// Forgets what can only have been taken under other numbers than these, for a limit that all askers are told
    /// alike: as long as it is the same, this changes nothing. What it leaves is a burst that has just been used up.
    pub fn forget_other_numbers(&mut self, limit: u32, per_ms: u64, now: Timestamp) {
        let (_, burst) = interval_and_burst(limit, per_ms);
        let used_up = nanos(now).saturating_add(burst);
        if self.tat > used_up.saturating_add(CLOCKS_DIFFER) {
            self.tat = used_up;
        }
    }

    /// From when on nothing is left of what was taken: the value need not be kept.
    #[must_use]
    pub fn idle_at(&self) -> Timestamp {
        moment(self.tat)
    }
}

impl Grant {
    /// When the next of those who were not granted may come back: an interval after the one before. Far ahead it
    /// begins again, for some of them never come, and others must not wait for those.
    pub fn turn(&self, turns: &mut Turns) -> Timestamp {
        let furthest = self.first.saturating_add(self.interval.saturating_mul(MOST_TURNS).max(TURNS_AHEAD));
        let next = self.first.max(turns.last.saturating_add(self.interval));
        turns.last = if next > furthest { self.first } else { next };
        moment(turns.last)
    }
}

impl Turns {
    /// Whether the last of them is over: it need not be remembered.
    #[must_use]
    pub fn are_over(&self, now: Timestamp) -> bool {
        self.last <= nanos(now)
    }
}

/// From one start to the next, and what so many starts at once use up, in nanoseconds.
fn interval_and_burst(limit: u32, per_ms: u64) -> (u64, u64) {
    let limit = u64::from(limit.max(1));
    let interval = per_ms.max(1).saturating_mul(NANOS).div_ceil(limit);
    (interval, interval.saturating_mul(limit))
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0).saturating_mul(NANOS)
}

/// The first millisecond that is not before.
fn moment(nanos: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(nanos.div_ceil(NANOS)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_burst_and_then_one_for_each_interval() {
        let mut rate = Rate::default();
        let first = rate.take(5, 3, 1_000, at(0));
        assert_eq!((first.granted, first.next_at), (3, at(334)));
        let mut turns = Turns::default();
        assert_eq!([(); 3].map(|()| first.turn(&mut turns)), [at(334), at(667), at(1_001)]);
        assert_eq!(rate.take(1, 3, 1_000, at(333)).granted, 0);
        assert_eq!(rate.take(2, 3, 1_000, at(334)).granted, 1);
        assert_eq!(rate.take(9, 3, 1_000, at(5_000)).granted, 3);
        assert_eq!(rate.idle_at(), at(6_001));
    }

    #[test]
    fn asking_in_vain_costs_nothing() {
        let mut rate = Rate::default();
        assert_eq!(rate.take(1, 1, 1_000, at(0)).granted, 1);
        let before = rate;
        for millis in 0..1_000 {
            assert_eq!(rate.take(1, 1, 1_000, at(millis)).granted, 0);
        }
        assert_eq!(rate, before);
        assert_eq!(rate.take(1, 1, 1_000, at(1_000)).granted, 1);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        for (limit, per_ms, now) in [(u32::MAX, u64::MAX, Timestamp::MAX), (1, u64::MAX, at(0)), (0, 0, Timestamp::MAX)]
        {
            let mut rate = Rate::default();
            let grant = rate.take(u32::MAX, limit, per_ms, now);
            let mut turns = Turns::default();
            assert!((0..3).all(|_| grant.turn(&mut turns) >= grant.next_at));
        }
        assert_eq!(Rate::default().take(u32::MAX, 1_000_000, 1, at(0)).granted, 1_000_000);
    }

    #[test]
    fn what_a_newer_build_wrote_is_not_read() {
        let mut rate = Rate::default();
        let _ = rate.take(1, 1, 1_000, at(0));
        let stored = serde_json::to_string(&rate).expect("json");
        assert_eq!(stored, r#"{"v":1,"tat":1001000000000}"#);
        assert_eq!(serde_json::from_str::<Rate>(&stored).ok(), Some(rate));
        assert!(serde_json::from_str::<Rate>(r#"{"v":2,"tat":1}"#).is_err());
    }

    #[test]
    fn those_who_are_refused_later_are_told_later_times_up_to_a_bound() {
        let (mut rate, mut turns) = (Rate::default(), Turns::default());
        let _ = rate.take(1, 1, 1_000, at(0));
        let mut told = |now| rate.take(1, 1, 1_000, at(now)).turn(&mut turns);
        assert_eq!([told(0), told(10), told(20)], [at(1_000), at(2_000), at(3_000)]);
        let last = (3..=256).map(|_| told(30)).last();
        assert_eq!((last, told(30), told(30)), (Some(at(257_000)), at(1_000), at(2_000)));
        assert!(!turns.are_over(at(1_999)) && turns.are_over(at(2_000)));
    }

    #[test]
    fn what_was_taken_under_other_numbers_shuts_nothing_for_an_old_period() {
        const WEEK: u64 = 7 * 24 * 3_600_000;
        let mut rate = Rate::default();
        assert_eq!(rate.take(1, 1, WEEK, at(0)).granted, 1);
        assert_eq!(rate.take(1, 100, 1_000, at(5)).granted, 0);
        rate.forget_other_numbers(100, 1_000, at(5));
        let grant = rate.take(1, 100, 1_000, at(5));
        assert_eq!((grant.granted, grant.next_at), (0, at(15)));
        assert_eq!(rate.take(9, 100, 1_000, at(25)).granted, 2);
    }

    proptest! {
        /// Also for askers whose clocks are a second apart.
        #[test]
        fn nothing_is_forgotten_while_the_numbers_stay(
            limit in 1..20u32,
            per_ms in 1..5_000u64,
            asks in prop::collection::vec((0..3_000i64, 0..30u32, 0..1_000i64), 1..60),
        ) {
            let (mut rate, mut now) = (Rate::default(), 0);
            for (wait, wanted, ahead) in asks {
                now += wait;
                let before = rate;
                rate.forget_other_numbers(limit, per_ms, at(now + ahead));
                prop_assert_eq!(rate, before);
                let _ = rate.take(wanted, limit, per_ms, at(now + ahead));
            }
        }

        /// The bound of the type's documentation, over every stretch between two moments of asking.
        #[test]
        fn never_more_than_the_bound(
            limit in 1..20u32,
            per_ms in 1..5_000u64,
            asks in prop::collection::vec((0..3_000i64, 0..30u32), 1..60),
        ) {
            let interval = (u128::from(per_ms) * u128::from(NANOS)).div_ceil(u128::from(limit));
            let (mut rate, mut now, mut granted) = (Rate::default(), 0, Vec::new());
            for (wait, wanted) in asks {
                now += wait;
                let grant = rate.take(wanted, limit, per_ms, at(now));
                prop_assert!(grant.granted <= wanted);
                prop_assert!(grant.granted == wanted || grant.next_at > at(now));
                granted.push((now, grant.granted));
            }
            for (first, &(from, _)) in granted.iter().enumerate() {
                let mut sum = 0;
                for &(to, count) in &granted[first..] {
                    sum += u128::from(count);
                    let width = u128::from((to - from).unsigned_abs()) * u128::from(NANOS);
                    prop_assert!(sum <= u128::from(limit) + width / interval);
                }
            }
        }

        /// Whoever comes back just when it was told to is granted, and a millisecond before, it is not.
        #[test]
        fn the_next_time_is_exact(limit in 1..50u32, per_ms in 1..100_000u64, used in 0..60u32, late in 0..1_000i64) {
            let mut rate = Rate::default();
            let _ = rate.take(used, limit, per_ms, at(0));
            let grant = rate.take(u32::MAX, limit, per_ms, at(late));
            let mut on_time = rate;
            prop_assert_eq!(on_time.take(1, limit, per_ms, grant.next_at).granted, 1);
            let mut early = rate;
            let before = Timestamp::from_millis(grant.next_at.as_millis() - 1);
            prop_assert_eq!(early.take(1, limit, per_ms, before).granted, 0);
        }
    }
}
