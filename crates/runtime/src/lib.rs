#![doc = include_str!("../README.md")]

pub mod health;
pub mod process;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
