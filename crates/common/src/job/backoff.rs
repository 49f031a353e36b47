//! How long to wait before the next attempt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Backoff {
    /// No wait at all.
    None {},
    /// Always the same wait.
    Fixed {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// A random wait between nothing and `base_ms` x `factor` ^ (attempt - 1), at most `cap_ms`: "full
    /// jitter", which spreads a crowd of failures best.
    /// Source: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    Exponential {
        /// The upper bound of the first wait, in milliseconds.
        #[serde(default = "base_ms")]
        base_ms: u64,
        /// How much longer each next one may be.
        #[serde(default = "factor")]
        factor: f64,
        /// The upper bound of every wait, in milliseconds.
        #[serde(default = "cap_ms")]
        cap_ms: u64,
    },
}

fn base_ms() -> u64 {
    1_000
}

fn factor() -> f64 {
    2.0
}

fn cap_ms() -> u64 {
    60_000
}

const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

impl Default for Backoff {
    fn default() -> Self {
        Self::Exponential { base_ms: base_ms(), factor: factor(), cap_ms: cap_ms() }
    }
}

impl Backoff {
    /// The longest wait there may be: a week.
    pub const LONGEST: Duration = Duration::from_millis(LONGEST_MS);

    /// Why this backoff makes no sense, if it does not: the field and what is wrong with it.
    ///
    /// # Errors
    /// Waits over a week, a factor below 1 or above 100, a cap below the base.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match *self {
            Self::Fixed { delay_ms } if delay_ms > LONGEST_MS => Err(("delay_ms", "must be at most a week")),
            Self::Exponential { base_ms, .. } if base_ms > LONGEST_MS => Err(("base_ms", "must be at most a week")),
            Self::Exponential { factor, .. } if !(1.0..=100.0).contains(&factor) => {
                Err(("factor", "must be between 1 and 100"))
            }
            Self::Exponential { cap_ms, .. } if cap_ms > LONGEST_MS => Err(("cap_ms", "must be at most a week")),
            Self::Exponential { base_ms, cap_ms, .. } if cap_ms < base_ms => {
                Err(("cap_ms", "must not be below base_ms"))
            }
            _ => Ok(()),
        }
    }

    /// The wait after this attempt (the first is 1). `luck` is uniform in 0 to 1.
    #[must_use]
    pub fn delay(&self, attempt: u32, luck: f64) -> Duration {
        match *self {
            Self::None {} => Duration::ZERO,
            Self::Fixed { delay_ms } => Duration::from_millis(delay_ms),
            Self::Exponential { base_ms, factor, cap_ms } => {
                let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
                let bound = (base_ms as f64 * factor.powi(exponent)).min(cap_ms as f64);
                Duration::from_millis((bound * luck.clamp(0.0, 1.0)) as u64)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_doubles_from_a_second_to_a_minute() {
        let bound = |attempt| Backoff::default().delay(attempt, 1.0).as_millis();
        assert_eq!([1, 2, 3, 7, 1_000_000].map(bound), [1_000, 2_000, 4_000, 60_000, 60_000]);
    }

    proptest! {
        #[test]
        fn no_wait_is_above_the_cap(base_ms in 0..LONGEST_MS, factor in 1.0..100.0, extra in 0u64..1_000_000, attempt: u32, luck in 0.0..1.0) {
            let cap_ms = (base_ms + extra).min(LONGEST_MS);
            let backoff = Backoff::Exponential { base_ms, factor, cap_ms };
            prop_assert_eq!(backoff.check(), Ok(()));
            prop_assert!(backoff.delay(attempt, luck).as_millis() <= u128::from(cap_ms));
        }
    }

    #[test]
    fn a_field_that_does_not_belong_is_refused_in_every_kind() {
        for kind in ["none", "fixed", "exponential"] {
            let with_more = serde_json::json!({"kind": kind, "delay_ms": 1, "base_ms": 1});
            assert!(serde_json::from_value::<Backoff>(with_more).is_err(), "{kind}");
        }
        assert_eq!(serde_json::from_str::<Backoff>(r#"{"kind":"none"}"#).ok(), Some(Backoff::None {}));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let exponential = |base_ms, factor, cap_ms| {
            Backoff::Exponential { base_ms, factor, cap_ms }.check().map_err(|(field, _)| field)
        };
        assert_eq!(exponential(2, 2.0, 1), Err("cap_ms"));
        assert_eq!(exponential(1, 0.5, 1), Err("factor"));
        assert_eq!(exponential(1, f64::NAN, 1), Err("factor"));
        assert_eq!(exponential(u64::MAX, 1.0, u64::MAX), Err("base_ms"));
    }
}
