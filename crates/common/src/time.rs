//! Time: milliseconds since 1970 in UTC, and the clock that everything reads it from.

use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A moment, in whole milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is not a moment in the form of RFC 3339, or lies outside the years 1970 to 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in the form of RFC 3339 between 1970 and 9999, such as 2026-11-21T08:00:00Z")]
pub struct InvalidTimestamp;

/// 9999-12-30T22:00:00.000Z: the last moment that a calendar library can show in every time zone.
const LAST: i64 = 253_402_207_200_000;

impl Timestamp {
    /// The last moment there is: what never comes.
    pub const MAX: Self = Self(LAST);

    /// The moment so many milliseconds after 1970-01-01T00:00:00Z, held within 1970 and 9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let millis = text.parse::<jiff::Timestamp>().map_err(|_| InvalidTimestamp)?.as_millisecond();
        if (0..=LAST).contains(&millis) { Ok(Self(millis)) } else { Err(InvalidTimestamp) }
    }
}

crate::serde_as_text!(Timestamp);

/// The one clock of a process: the wall clock at its start, carried on by a monotonic one, so that a step of
/// the host's clock moves nothing. A store that has a clock of its own corrects it with [`Clock::correct`]; a test
/// that wants to see tomorrow uses [`Clock::shift`]. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock {
    origin: Instant,
    millis_at_origin: Arc<AtomicI64>,
    corrections: Arc<AtomicU64>,
}

/// A correction of more than this is a step: somebody has set the clock that this one goes by.
const STEP_MS: u64 = 500;

impl Clock {
    /// A clock that starts at the host's time.
    #[must_use]
    pub fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(now.as_millis()).unwrap_or(LAST);
        Self { origin: Instant::now(), millis_at_origin: Arc::new(AtomicI64::new(millis)), corrections: Arc::default() }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(LAST);
        Timestamp::from_millis(self.millis_at_origin.load(Ordering::SeqCst).saturating_add(passed))
    }

    /// Moves the clock by so many milliseconds, forward or back.
    pub fn shift(&self, millis: i64) {
        self.millis_at_origin.fetch_add(millis, Ordering::SeqCst);
    }

    /// Moves the clock by what it differs from the one that all processes go by.
    pub fn correct(&self, millis: i64) {
        // Counted before it shows: whoever reads the new time and then the count sees that there was a step.
        if millis.unsigned_abs() > STEP_MS {
            self.corrections.fetch_add(1, Ordering::SeqCst);
        }
        self.shift(millis);
    }

    /// How often it was corrected by more than half a second. Other processes go by the same clock, but do not all see
    /// a step of it at once.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.corrections.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_milliseconds() {
        let moment: Timestamp = "2026-11-21T09:00:00.1234+01:00".parse().expect("a time");
        assert_eq!(moment.to_string(), "2026-11-21T08:00:00.123Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in ["", "now", "2026-11-21", "2026-11-21T08:00:00", "1969-12-31T23:59:59Z", "12026-01-01T00:00:00Z"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTimestamp), "{bad}");
        }
    }

    #[test]
    fn a_correction_counts_as_a_step_when_it_is_a_large_one() {
        let clock = Clock::start();
        clock.correct(-500);
        assert_eq!(clock.steps(), 0);
        clock.clone().correct(-501);
        assert_eq!(clock.steps(), 1);
    }

    #[test]
    fn a_clock_can_be_moved_and_all_its_clones_with_it() {
        let clock = Clock::start();
        let (clone, before) = (clock.clone(), clock.now());
        clock.shift(86_400_000);
        assert!(clone.now().since(before) >= Duration::from_secs(86_400));
    }
}
