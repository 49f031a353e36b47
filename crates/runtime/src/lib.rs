#![doc = include_str!("../README.md")]

pub mod health;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
