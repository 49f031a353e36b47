#![doc = include_str!("../README.md")]

pub mod cli;
pub mod client;
pub mod demo;
pub mod embedded;
mod ending;
mod get;
mod json;
mod migrate;
mod moving;
mod ready;
pub mod serve;
mod server_option;
mod submit;
mod table;
mod watch;
