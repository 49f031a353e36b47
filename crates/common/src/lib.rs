#![doc = include_str!("../README.md")]

mod body;
pub mod breaker;
pub mod http;
mod id;
pub mod job;
pub mod limits;
pub mod message;
mod name;
mod record;
pub mod schedule;
mod time;
pub mod unique;

pub use body::{BlobRef, Body, INLINE_LIMIT, Part};
pub use id::{BlobId, InvalidId, JobId, LeaseId, ScheduleId, WorkerId};
pub use job::{Job, State};
pub use name::{InvalidName, MAX_NAME, QueueName, Tenant, TypeName};
pub use record::{BandKey, Class, LeaderRecord, QueueRate, QueueRecord, TypeDefaults, TypeRecord, WorkerRecord};
pub use time::{Clock, InvalidTimestamp, Timestamp};

/// Serialises a type by its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
