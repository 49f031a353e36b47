//! The service over real sockets, on a real store, broker, worker and scheduler.

mod batch;
mod document;
mod errors;
mod jobs;
mod lists;
mod overload;
mod page;
mod platform;
mod raw;
mod support;
mod text;
