//! Gets to the server and stays in touch with it: tries again for as long as it takes, says once what is wrong, and
//! keeps the process's clock by the server's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_common::Clock;
use mongodb::{Client, bson::rawdoc};
use tokio::sync::{Notify, watch};

use super::{fault::Fault, link::Standing, pool::Place, schema, server::Server};
use crate::StoreError;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the clock is compared with the server's.
const COMPARE: Duration = Duration::from_secs(60);
/// How often at most trouble makes one look whether the server is there.
const LOOK: Duration = Duration::from_millis(200);
/// How many readings one comparison takes: the one with the shortest way counts.
const READINGS: usize = 5;

pub(super) struct Supervisor {
    pub(super) place: Place,
    pub(super) clock: Clock,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) trouble: Arc<Notify>,
}

impl Supervisor {
    /// What the store says of itself before the first attempt is over.
    pub(super) fn not_yet() -> StoreError {
        StoreError::unavailable(std::io::Error::other("it is being connected to"))
    }

    pub(super) async fn run(self) {
        let mut server = None;
        let mut wait = FIRST_WAIT;
        let mut said: Option<String> = None;
        loop {
            match self.attempt(&mut server).await {
                Ok(ready) => {
                    match said.take() {
                        Some(_) => tracing::info!("the store is there again"),
                        None => tracing::debug!("the store is there"),
                    }
                    metrics::gauge!("gristmill_store_available").set(1.0);
                    drop(self.standing.send_replace(Ok(ready)));
                    wait = FIRST_WAIT;
                    tokio::time::sleep(LOOK).await;
                    let _ = tokio::time::timeout(COMPARE, self.trouble.notified()).await;
                }
                Err(fault) => {
                    let reason = StoreError::from(fault);
                    let text = reason.to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::warn!("{text}; trying again until it is there");
                        said = Some(text);
                    }
                    metrics::gauge!("gristmill_store_available").set(0.0);
                    drop(self.standing.send_replace(Err(reason)));
                    tokio::time::sleep(wait.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Everything that must hold before the store is used. The driver finds its servers again by itself: there is one
    /// client from the first attempt on.
    async fn attempt(&self, server: &mut Option<Server>) -> Result<Server, Fault> {
        let server = match server {
            Some(server) => server,
            None => {
                let client = Client::with_options(self.place.options().await?)?;
                server.insert(Server::new(client.database(&self.place.database), Arc::clone(&self.trouble)))
            }
        };
        self.compare_clocks(server).await?;
        schema::prepare(server, &self.clock).await?;
        Ok(server.clone())
    }

    /// Shifts the clock by what it differs from the server's, as far as that can be told.
    async fn compare_clocks(&self, server: &Server) -> Result<(), Fault> {
        let mut best: Option<(Duration, i64)> = None;
        for _ in 0..READINGS {
            let began = Instant::now();
            let reply = server.run("hello", rawdoc! { "hello": 1 }).await?;
            let (took, here) = (began.elapsed(), self.clock.now());
            let there = reply.get_datetime("localTime").map_err(|error| Fault::Corrupt(error.to_string()))?;
            let way = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
            let offset = there.timestamp_millis().saturating_add(way).saturating_sub(here.as_millis());
            if best.is_none_or(|(shortest, _)| took < shortest) {
                best = Some((took, offset));
            }
        }
        // A difference within the reading's own error is none.
        if let Some((took, offset)) = best
            && offset.unsigned_abs() > u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX).saturating_add(1)
        {
            tracing::info!(offset_ms = offset, "the clock is set by the store's");
            self.clock.correct(offset);
        }
        Ok(())
    }
}
