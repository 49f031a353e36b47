//! Dead letters: replayed or discarded, many at a time.

use serde::{Deserialize, Serialize};

use crate::{QueueName, Timestamp, TypeName};

/// Which dead letters: the body of `POST /dead-letters/replay` and `POST /dead-letters/discard`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Of this type.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub job_type: Option<TypeName>,
    /// In this queue.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub queue: Option<QueueName>,
    /// Failed later than this.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failed_after: Option<Timestamp>,
    /// Failed earlier than this; now when it is left out.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub failed_before: Option<Timestamp>,
    /// At most so many, 1 to 10,000; 1,000 when it is left out.
    pub limit: Option<u32>,
}

/// How many dead letters run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replayed {
    /// So many.
    pub replayed: u64,
    /// Only what failed earlier than this was looked at: sent with the next call, it leaves out what has failed again.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub failed_before: Timestamp,
    /// Whether there may be more of them: the same call goes on.
    pub more: bool,
}

/// How many dead letters are erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Discarded {
    /// So many.
    pub discarded: u64,
    /// Only what failed earlier than this was looked at.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub failed_before: Timestamp,
    /// Whether there may be more of them: the same call goes on.
    pub more: bool,
}
