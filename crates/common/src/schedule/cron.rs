//! Cron patterns, and the instants that they name in a time zone.
//!
//! croner parses patterns and walks along the wall clock. Which instants a wall clock's time stands for is decided
//! here, because on the days when clocks are changed croner's own rule is not ours: it loses `0 2,3 * * *` at 2:00
//! when the clock leaps over it and runs it twice when 2:00 comes twice; and it finds no next firing at all when a
//! day is skipped, as in Apia in 2011.
//!
//! **A pattern whose hours are every hour counts along real time**: it fires whenever the wall clock shows a time
//! that matches. What the clock leaps over never comes, what it shows twice fires twice. `*/15 * * * *` fires every
//! quarter of an hour, on every day.
//!
//! **Every other pattern names times of the day, and each comes once**: at the first, if the clock shows it twice;
//! at the moment of the leap, if the clock leaps over it. Times that fall together in that way fire once.

use std::{fmt, str::FromStr, sync::Arc};

use croner::parser::{CronParser, Seconds, Year};
use jiff::{
    civil::{self, DateTime},
    tz::AmbiguousOffset,
};

use crate::{Timestamp, schedule::TimeZone};

/// The longest pattern, in bytes.
pub const MAX_CRON: usize = 256;

/// The hours of a day.
const EVERY_HOUR: usize = 24;

/// The calendar repeats itself, weekdays included, after 400 years. A pattern without years that does not fire in
/// these, which are the last that croner searches, never does.
const LAST_CYCLE: DateTime = civil::date(4599, 12, 31).at(23, 59, 59, 0);

/// A cron pattern that fires: five fields (minute, hour, day of the month, month, day of the week) or six, with
/// seconds before them.
///
/// Fields have numbers, names (`MON`, `JAN`), `*`, lists, ranges and steps. Days of the month know `L` (the last),
/// `15W` (the working day closest to the 15th) and `LW`, days of the week `5L` (the last Friday) and `5#2` (the
/// second). If neither days field is `*`, a day has to match one of them, or both if the last field begins with
/// `+`. `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly` stand for patterns.
#[derive(Clone)]
pub struct Cron {
    text: Arc<str>,
    pattern: Arc<croner::Cron>,
    /// Whether it counts along real time, and does not name times of the day.
    hourly: bool,
}

/// The text is no cron pattern that a schedule can go by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    /// It is longer than [`MAX_CRON`].
    #[error("must be at most 256 bytes")]
    TooLong,
    /// It is no pattern.
    #[error("must be a cron pattern of five fields, or six with seconds: {0}")]
    Malformed(String),
    /// It names no time that there is, such as 30 February.
    #[error("must name a time that comes: this pattern never fires")]
    NeverFires,
}

impl Cron {
    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first instant after `after` at which it fires in this zone. `None` if that lies beyond the year 4999.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_millisecond(after.as_millis()).ok()?;
        let rules = zone.rules();
        let next = if self.hourly { self.next_showing(after, rules) } else { self.next_time_of_day(after, rules) };
        Some(Timestamp::from_millis(next?.as_millisecond()))
    }

    /// Every instant after `after`, in order.
    pub fn instants_after(&self, after: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after, zone), |&last| self.next_after(last, zone))
    }

    /// The next instant at which the wall clock shows a time that matches. Between two changes of the clock, that
    /// is a walk along the wall clock.
    fn next_showing(&self, after: jiff::Timestamp, rules: &jiff::tz::TimeZone) -> Option<jiff::Timestamp> {
        let mut offset = rules.to_offset(after);
        let mut from = offset.to_datetime(after);
        let mut shown = self.next_on_the_wall(from, false)?;
        for change in rules.following(after) {
            if offset.to_timestamp(shown).ok()? < change.timestamp() {
                break;
            }
            offset = change.offset();
            let moved_to = offset.to_datetime(change.timestamp());
            // From here on it is the same time that matches first, unless the clock has leapt over it, or back to
            // where the search began.
            if moved_to <= from || moved_to > shown {
                from = moved_to;
                shown = self.next_on_the_wall(from, true)?;
            }
        }
        offset.to_timestamp(shown).ok()
    }

    /// The next instant for which a time of the day that matches stands.
    fn next_time_of_day(&self, after: jiff::Timestamp, rules: &jiff::tz::TimeZone) -> Option<jiff::Timestamp> {
        let mut shown = rules.to_datetime(after);
        loop {
            shown = self.next_on_the_wall(shown, false)?;
            // An hour that comes twice is walked through again from its second coming, and has fired.
            let instant = only_instant(shown, rules)?;
            if instant > after {
                return Some(instant);
            }
        }
    }

    fn next_on_the_wall(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.pattern.find_next_occurrence(&from, inclusive).ok()
    }
}

/// The one instant for which a time of the day stands: the first at which the clock shows it, or the moment at
/// which it leaps over it.
fn only_instant(shown: DateTime, rules: &jiff::tz::TimeZone) -> Option<jiff::Timestamp> {
    match rules.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(shown).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(shown).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            let before_the_leap = after.to_timestamp(shown).ok()?;
            rules.following(before_the_leap).find(|change| change.offset() == after).map(|change| change.timestamp())
        }
    }
}

/// The first part of a field that could only be guessed at. croner ignores an empty one, and takes `SUNMON` for 01.
fn unclear(field: &str) -> Option<&str> {
    let is_clear = |part: &str| {
        let (digits, letters) = part.split_at(part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len()));
        match letters.to_ascii_uppercase().as_str() {
            "" => !digits.is_empty(),
            "L" | "W" => true,
            "*" | "?" | "LW" => digits.is_empty(),
            name => digits.is_empty() && name.strip_suffix('L').unwrap_or(name).len() <= 3,
        }
    };
    let parts = field.strip_prefix('+').unwrap_or(field).split([',', '-', '/', '#']);
    if field.starts_with('@') { None } else { parts.into_iter().find(|part| !is_clear(part)) }
}

impl FromStr for Cron {
    type Err = InvalidCron;

    /// A pattern that never fires takes longest: a search of 400 years, which is 40 ms in a build that is not
    /// optimised.
    fn from_str(text: &str) -> Result<Self, InvalidCron> {
        if text.len() > MAX_CRON {
            return Err(InvalidCron::TooLong);
        }
        let text = text.trim();
        if !text.is_ascii() {
            return Err(InvalidCron::Malformed("it has a character that is not ASCII".into()));
        }
        if let Some(part) = text.split_whitespace().find_map(unclear) {
            return Err(InvalidCron::Malformed(format!("`{part}` is no value")));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| InvalidCron::Malformed(error.to_string()))?;
        if pattern.find_next_occurrence(&LAST_CYCLE, false).is_err() {
            return Err(InvalidCron::NeverFires);
        }
        let hourly = pattern.pattern.hours.values().len() == EVERY_HOUR;
        Ok(Self { text: text.into(), pattern: Arc::new(pattern), hourly })
    }
}

/// Two patterns are equal if they were written alike.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.text)
    }
}

crate::serde_as_text!(Cron);
