//! Gates: what a job has to pass before it is accepted, or before it may run, beside others that share a key.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest key, in bytes.
pub const MAX_GATE_KEY: usize = 256;
/// The longest time that a gate may count in: a week, in milliseconds.
const LONGEST_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The most jobs of one concurrency key that may run at once.
const MOST_AT_ONCE: u32 = 1_000;
/// The most starts in one period of a rate limit.
const MOST_STARTS: u32 = 1_000_000;

/// The gates of a job. Most jobs have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gates {
    /// Not a second one while another holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// Put off by each submission of the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<Debounce>,
    /// Not more than so many at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Not more often than so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// Not a second job while another holds the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// What must be unique within the tenant, whatever the job's type.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: GateKey,
    /// For how long the key is held.
    #[serde(rename = "while", default)]
    pub held: While,
    /// What becomes of the second job.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

/// For how long a job holds its unique key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum While {
    /// Until it is first claimed, cancelled or expired.
    Queued,
    /// Until it has ended.
    #[default]
    Active,
    /// For so many milliseconds from its submission, whatever becomes of it; a week at most.
    ForMs(u64),
}

/// What becomes of a submission whose unique key is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It is refused.
    #[default]
    Reject,
    /// It is answered with the job that holds the key.
    ReturnExisting,
}

/// A job that each further submission of its key puts off, and whose payload the last one gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Debounce {
    /// Which submissions are the same, within the tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: GateKey,
    /// How long it waits for another submission, in milliseconds; a week at most.
    pub wait_ms: u64,
    /// How long it may be put off in all, in milliseconds; not below `wait_ms`, a week at most.
    pub max_wait_ms: u64,
}

/// Not more than so many jobs of a key at once, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// Which jobs count together, within the tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: GateKey,
    /// How many, 1 to 1,000. Of jobs of one key that say different numbers, each goes by its own.
    pub limit: u32,
}

/// Not more than so many starts of a key in a time, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Which jobs count together, within the tenant.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub key: GateKey,
    /// How many starts, 1 to a million; so many may also come at once.
    pub limit: u32,
    /// In how many milliseconds, 1 to a week.
    pub per_ms: u64,
}

/// A key that people choose: 1 to 256 bytes without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GateKey(Arc<str>);

/// The text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 256 bytes without control characters")]
pub struct InvalidGateKey;

impl Gates {
    /// Whether there are none.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Why they make no sense, if they do not: the field and what is wrong with it, such as `concurrency/limit`.
    pub fn check(&self, mut wrong: impl FnMut(&'static str, &'static str)) {
        if let Some(Unique { held: While::ForMs(ms), .. }) = self.unique
            && !(1..=LONGEST_MS).contains(&ms)
        {
            wrong("unique/while/for_ms", "must be between 1 and a week");
        }
        if let Some(Debounce { wait_ms, max_wait_ms, .. }) = self.debounce {
            if !(1..=LONGEST_MS).contains(&wait_ms) {
                wrong("debounce/wait_ms", "must be between 1 and a week");
            }
            if !(wait_ms..=LONGEST_MS).contains(&max_wait_ms) {
                wrong("debounce/max_wait_ms", "must be between wait_ms and a week");
            }
            if self.unique.is_some() {
                wrong("debounce", "must not be sent together with unique");
            }
        }
        if let Some(Concurrency { limit, .. }) = self.concurrency
            && !(1..=MOST_AT_ONCE).contains(&limit)
        {
            wrong("concurrency/limit", "must be between 1 and 1000");
        }
        if let Some(RateLimit { limit, per_ms, .. }) = self.rate_limit {
            if !(1..=MOST_STARTS).contains(&limit) {
                wrong("rate_limit/limit", "must be between 1 and 1000000");
            }
            if !(1..=LONGEST_MS).contains(&per_ms) {
                wrong("rate_limit/per_ms", "must be between 1 and a week");
            }
        }
    }
}

impl GateKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GateKey {
    type Err = InvalidGateKey;

    fn from_str(text: &str) -> Result<Self, InvalidGateKey> {
        if (1..=MAX_GATE_KEY).contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidGateKey)
        }
    }
}

impl fmt::Display for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

crate::serde_as_text!(GateKey);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong_with(gates: serde_json::Value) -> Vec<&'static str> {
        let gates: Gates = serde_json::from_value(gates).expect("gates");
        let mut wrong = Vec::new();
        gates.check(|field, _| wrong.push(field));
        wrong
    }

    #[test]
    fn gates_are_read_as_people_write_them() {
        let gates: Gates = serde_json::from_value(json!({
            "unique": {"key": "a", "while": {"for_ms": 5}, "on_conflict": "return_existing"},
            "concurrency": {"key": "b", "limit": 2},
            "rate_limit": {"key": "c", "limit": 3, "per_ms": 1_000},
        }))
        .expect("gates");
        let unique = gates.unique.as_ref().expect("a unique key");
        assert_eq!((unique.held, unique.on_conflict), (While::ForMs(5), OnConflict::ReturnExisting));
        let plain: Unique = serde_json::from_value(json!({"key": "a"})).expect("a unique key");
        assert_eq!((plain.held, plain.on_conflict), (While::Active, OnConflict::Reject));
        assert!(!gates.is_open() && Gates::default().is_open());
        assert_eq!(serde_json::to_value(Gates::default()).expect("json"), json!({}));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(wrong_with(json!({"unique": {"key": "a", "while": {"for_ms": 0}}})), ["unique/while/for_ms"]);
        assert_eq!(
            wrong_with(json!({"debounce": {"key": "a", "wait_ms": 5, "max_wait_ms": 4}, "unique": {"key": "a"}})),
            ["debounce/max_wait_ms", "debounce"]
        );
        assert_eq!(wrong_with(json!({"concurrency": {"key": "a", "limit": 0}})), ["concurrency/limit"]);
        assert_eq!(
            wrong_with(json!({"rate_limit": {"key": "a", "limit": 0, "per_ms": LONGEST_MS + 1}})),
            ["rate_limit/limit", "rate_limit/per_ms"]
        );
        for bad in ["", "a\nb", &"x".repeat(10_000)] {
            assert_eq!(bad.parse::<GateKey>(), Err(InvalidGateKey));
        }
    }
}
