#![doc = include_str!("../README.md")]

pub mod cli;
pub mod client;
pub mod demo;
pub mod embedded;
mod get;
mod json;
pub mod serve;
mod submit;
mod table;
mod watch;
