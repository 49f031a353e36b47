//! Time zones, by the names of the IANA database.

use std::{fmt, str::FromStr};

use jiff::tz::TimeZoneDatabase;

/// The longest name, in bytes. The longest there is has 30.
const MAX_TIME_ZONE: usize = 64;

/// A time zone such as `Europe/Berlin` or `UTC`.
///
/// Its rules come from the copy of the IANA database that is built into the program, never from the host: two
/// processes of one build agree on every instant, whatever their hosts have installed.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

/// There is no time zone of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the name of a time zone of the IANA database, such as Europe/Berlin or UTC")]
pub struct InvalidTimeZone;

impl TimeZone {
    /// Universal time: what a schedule has when it says nothing.
    pub const UTC: Self = Self(jiff::tz::TimeZone::UTC);

    /// The name, in the database's own spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The rules.
    pub(crate) fn rules(&self) -> &jiff::tz::TimeZone {
        &self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

impl FromStr for TimeZone {
    type Err = InvalidTimeZone;

    fn from_str(text: &str) -> Result<Self, InvalidTimeZone> {
        if text.len() > MAX_TIME_ZONE {
            return Err(InvalidTimeZone);
        }
        match TimeZoneDatabase::bundled().get(text) {
            // `Etc/Unknown` is how a program says that it could not find out; it is no zone to plan by.
            Ok(zone) if !zone.is_unknown() && zone.iana_name().is_some() => Ok(Self(zone)),
            _ => Err(InvalidTimeZone),
        }
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

crate::serde_as_text!(TimeZone);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zones_are_known_by_their_names() {
        for (text, name) in [
            ("UTC", "UTC"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("US/Eastern", "US/Eastern"),
            ("America/Argentina/ComodRivadavia", "America/Argentina/ComodRivadavia"),
        ] {
            assert_eq!(text.parse::<TimeZone>().expect(text).as_str(), name);
        }
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        let long = "a".repeat(10_000);
        for bad in ["", "Mars/Olympus", "Etc/Unknown", "CET-1CEST,M3.5.0,M10.5.0/3", "+01:00", "Europe", "local", &long]
        {
            assert_eq!(bad.parse::<TimeZone>(), Err(InvalidTimeZone), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_zone_or_an_error(text: String) {
            if let Ok(zone) = text.parse::<TimeZone>() {
                prop_assert_eq!(zone.as_str().parse::<TimeZone>(), Ok(zone.clone()));
            }
        }
    }
}
