#![doc = include_str!("../README.md")]

mod builtin;
mod context;
mod guard;
mod handler;
mod registry;

pub use builtin::{Crash, Fail, Sleep, WordCount, built_in, test_types};
pub use context::{Context, JobInfo, Report, Reports, Text, TextStream};
pub use gristmill_common::{Class, TypeDefaults, job::Backoff};
pub use handler::{HandlerError, JobHandler};
pub use registry::{Handler, Registry, RegistryError};
