#![doc = include_str!("../README.md")]

mod database;
mod disk;
mod fleet;
mod http;
mod nginx;
mod process;
mod proxy;
mod server;
mod services;

use std::{future::Future, time::Duration};

pub use database::Database;
pub use disk::Disk;
pub use fleet::{Fleet, FleetBuilder, Kind};
pub use http::{Answer, Http};
pub use nginx::{Gateway, GatewayBuilder};
pub use process::{Process, ProcessBuilder};
pub use proxy::{Held, Manner, Proxy, Spot};
pub use server::{Server, ServerBuilder};
pub use services::{Management, PrivateRabbit, Waiting, World};

/// How long a test waits for what must come: long enough for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none within [`DEADLINE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}
