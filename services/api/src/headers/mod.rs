//! Headers of requests, parsed into what they mean.

pub(crate) mod conditional;
pub(crate) mod content_type;
pub(crate) mod idempotency;
pub(crate) mod prefer;
pub(crate) mod site;
pub(crate) mod trace;
