//! The job types that a process knows, by name.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use gristmill_common::{Class, Timestamp, TypeName, TypeRecord};

use crate::{Context, HandlerError, JobHandler, guard::Guard};

/// The handlers of a process, by job type.
#[derive(Clone, Default)]
pub struct Registry {
    handlers: BTreeMap<TypeName, Handler>,
    /// What they call outside they call by the same breakers.
    guard: Guard,
}

/// A handler cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// Its name is not one.
    #[error("job type `{0}`: a name must be 1 to 64 characters of a-z, 0-9, `_`, `-` and `.`")]
    BadName(&'static str),
    /// There is one of that name already.
    #[error("job type `{0}` is registered twice")]
    Twice(TypeName),
}

type Running = Pin<Box<dyn Future<Output = Result<Bytes, HandlerError>> + Send>>;

/// A registered handler, whatever its types: bytes in, bytes out.
#[derive(Clone)]
pub struct Handler {
    record: Arc<TypeRecord>,
    run: Arc<dyn Fn(Bytes, Context) -> Running + Send + Sync>,
}

impl Registry {
    /// Adds a handler.
    ///
    /// # Errors
    /// Its name is not one, or is taken.
    pub fn with<H: JobHandler>(mut self, handler: H) -> Result<Self, RegistryError> {
        let name: TypeName = H::NAME.parse().map_err(|_| RegistryError::BadName(H::NAME))?;
        let record = TypeRecord {
            name: name.clone(),
            description: H::DESCRIPTION.into(),
            payload_schema: schemars::schema_for!(H::Input).to_value(),
            result_schema: schemars::schema_for!(H::Output).to_value(),
            class: H::CLASS,
            accepts_text: H::ACCEPTS_TEXT,
            defaults: handler.defaults(),
            last_seen: Timestamp::from_millis(0),
        };
        let (handler, guard) = (Arc::new(handler), self.guard.clone());
        let run = Arc::new(move |payload: Bytes, context: Context| -> Running {
            let (handler, context) = (handler.clone(), context.guarded_by(guard.clone()));
            Box::pin(async move {
                let input =
                    serde_json::from_slice(&payload).map_err(|error| HandlerError::fatal("invalid_payload", error))?;
                let output = handler.run(input, context).await?;
                let json = serde_json::to_vec(&output).map_err(|error| HandlerError::fatal("invalid_result", error))?;
                Ok(json.into())
            })
        });
        let handler = Handler { record: Arc::new(record), run };
        match self.handlers.insert(name.clone(), handler) {
            None => Ok(self),
            Some(_) => Err(RegistryError::Twice(name)),
        }
    }

    /// The handler of a job type.
    #[must_use]
    pub fn get(&self, name: &TypeName) -> Option<&Handler> {
        self.handlers.get(name)
    }

    /// Every handler, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Handler> {
        self.handlers.values()
    }
}

impl Handler {
    /// What there is to know about the type; nobody has seen it yet.
    #[must_use]
    pub fn record(&self) -> &TypeRecord {
        &self.record
    }

    /// How it runs.
    #[must_use]
    pub fn class(&self) -> Class {
        self.record.class
    }

    /// Runs one attempt: from a JSON payload to a JSON result.
    ///
    /// # Errors
    /// What the handler failed with, or `invalid_payload`.
    pub async fn run(&self, payload: Bytes, context: Context) -> Result<Bytes, HandlerError> {
        (self.run)(payload, context).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fail, Sleep};

    struct BadlyNamed;

    impl JobHandler for BadlyNamed {
        const NAME: &'static str = "Bad Name";
        const DESCRIPTION: &'static str = "";
        type Input = ();
        type Output = ();

        async fn run(&self, (): (), _: Context) -> Result<(), HandlerError> {
            Ok(())
        }
    }

    #[test]
    fn a_name_is_checked_and_taken_once() {
        assert_eq!(Registry::default().with(BadlyNamed).err(), Some(RegistryError::BadName("Bad Name")));
        let twice = Registry::default()
            .with(Sleep)
            .and_then(|registry| registry.with(Fail))
            .and_then(|registry| registry.with(Sleep));
        assert!(matches!(twice.err(), Some(RegistryError::Twice(name)) if name.as_str() == "sleep"));
    }
}
