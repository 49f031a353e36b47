//! The bodies of the HTTP interface, shared by the service that writes them and the programs that read them.

mod dead_letters;
mod jobs;
mod platform;
mod schedules;

use serde::{Deserialize, Serialize};

pub use dead_letters::{Discarded, ReplayRequest, Replayed};
pub use jobs::{BatchItem, BatchRequest, BatchResponse, HistoryView, JobPage, JobRequest, JobView, LogLine, LogsView};
pub use platform::{Counts, Quantiles, QueueRequest, QueueView, StatsView, TypeView, WorkerView};
pub use schedules::{SchedulePage, ScheduleRequest, ScheduleView, TemplateRequest, TemplateView};

/// An error, in the form of RFC 9457.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A stable snake_case word from the catalogue in `API.md`.
    pub code: String,
    /// The same for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time.
    pub detail: String,
    /// Finds the request in the logs.
    pub request_id: String,
    /// The fields at fault, for a bad body or query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where it is: a JSON Pointer (RFC 6901) into the body, or `?name` for a query parameter.
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    /// The error at this pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}
