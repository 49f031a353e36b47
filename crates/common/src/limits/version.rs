//! The version that a stored value carries.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The version of a value's form. It is written as the newest, and reading refuses one that is newer: what a newer
/// build wrote is left to newer builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Version<const NEWEST: u32>;

impl<const NEWEST: u32> Serialize for Version<NEWEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(NEWEST)
    }
}

impl<'de, const NEWEST: u32> Deserialize<'de> for Version<NEWEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            found if (1..=NEWEST).contains(&found) => Ok(Self),
            found => Err(D::Error::custom(format_args!("version {found} is not one of 1 to {NEWEST}"))),
        }
    }
}
