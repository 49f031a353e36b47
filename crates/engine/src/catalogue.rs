//! The job types that a process knows: its own, and those that workers announced in the store.

use std::sync::Arc;

use gristmill_common::{TypeRecord, http::FieldError};
use jsonschema::Validator;

use crate::{Engine, EngineError};

/// The most errors reported of one payload.
const MOST_ERRORS: usize = 20;

/// A job type, with its schema compiled once.
#[derive(Clone)]
pub struct JobType {
    record: Arc<TypeRecord>,
    validator: Arc<Validator>,
}

impl JobType {
    /// Compiles the schema of a type. `None` if it is no schema: then nothing can be submitted.
    pub(crate) fn compile(record: TypeRecord) -> Option<Self> {
        match jsonschema::validator_for(&record.payload_schema) {
            Ok(validator) => Some(Self { record: Arc::new(record), validator: Arc::new(validator) }),
            Err(error) => {
                tracing::warn!(job.type = %record.name, %error, "a job type was announced with a schema that is none");
                None
            }
        }
    }

    /// What there is to know about it.
    #[must_use]
    pub fn record(&self) -> &TypeRecord {
        &self.record
    }

    /// Checks a payload against the schema; `at` is where the payload stands in the request.
    pub(crate) fn check(&self, payload: &[u8], at: &str) -> Result<(), EngineError> {
        let payload = serde_json::from_slice(payload)
            .map_err(|error| EngineError::Invalid(vec![FieldError::new(at, error.to_string())]))?;
        if self.validator.is_valid(&payload) {
            return Ok(());
        }
        let errors = self
            .validator
            .iter_errors(&payload)
            .take(MOST_ERRORS)
            .map(|error| FieldError::new(format!("{at}{}", error.instance_path()), shorten(error.to_string())))
            .collect();
        Err(EngineError::Invalid(errors))
    }
}

impl Engine {
    /// Every job type that may be submitted, by name.
    #[must_use]
    pub fn job_types(&self) -> Vec<JobType> {
        self.0.board.job_types()
    }

    pub(crate) fn job_type(&self, name: &str) -> Result<JobType, EngineError> {
        self.0.board.job_type(name).ok_or_else(|| EngineError::UnknownJobType(name.to_owned()))
    }
}

/// A message that quotes the payload must not repeat all of it.
fn shorten(mut message: String) -> String {
    const LONGEST: usize = 200;
    if message.len() > LONGEST {
        message.truncate(message.floor_char_boundary(LONGEST));
        message.push('…');
    }
    message
}
