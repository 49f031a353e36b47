#![doc = include_str!("../README.md")]

mod caller;
mod calls;
mod config;
mod gate;
mod headers;
mod intake;
mod json;
mod load;
mod measure;
mod problem;
mod query;
mod routes;
mod server;

pub use config::ApiConfig;
pub use problem::Code;
pub use routes::document;
pub use server::{BindError, bind};
