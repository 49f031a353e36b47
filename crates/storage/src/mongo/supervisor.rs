//! Gets to the server and stays in touch with it: tries again for as long as it takes, says once what is wrong, and
//! keeps the process's clock by the server's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_common::Clock;
use mongodb::{Client, bson::rawdoc};
use tokio::sync::{Notify, watch};

use super::{
    fault::Fault,
    link::Standing,
    pool::{self, Place},
    schema,
    server::Server,
};
use crate::StoreError;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often the clock is compared with the server's.
const COMPARE: Duration = Duration::from_secs(5);
/// How often the schema is looked at as well: a newer build may have migrated it.
const LOOK_AT_ALL: Duration = Duration::from_secs(60);
/// How often at most trouble makes one look whether the server is there.
const LOOK: Duration = Duration::from_millis(200);
/// How many readings set the clock at first, and when it has to be moved far: the one with the shortest way counts.
const READINGS: usize = 5;
/// What is far, in milliseconds. To keep the clock where it is, one reading will do.
const FAR_MS: u64 = 100;

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
            self.standing.send_modify(Standing::tries);
            match self.attempt(&mut server).await {
                Ok(ready) => {
                    match said.take() {
                        Some(_) => tracing::info!("the store is there again"),
                        None => tracing::debug!("the store is there"),
                    }
                    metrics::gauge!("gristmill_store_available").set(1.0);
                    self.standing.send_modify(|standing| standing.reached(ready.clone()));
                    wait = FIRST_WAIT;
                    tokio::time::sleep(LOOK).await;
                    self.stay_in_touch(&ready).await;
                }
                Err(fault) => {
                    let reason = StoreError::from(fault);
                    let text = reason.to_string();
                    if said.as_ref() != Some(&text) {
                        tracing::warn!("{text}; trying again until it is there");
                        said = Some(text);
                    }
                    metrics::gauge!("gristmill_store_available").set(0.0);
                    self.standing.send_modify(|standing| standing.lost(reason));
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
                let options = self.place.options().await?;
                let leases = Client::with_options(pool::for_leases(&options))?.database(&self.place.database);
                let database = Client::with_options(options)?.database(&self.place.database);
                server.insert(Server::new(database, Arc::clone(&self.trouble)).with_leases(leases))
            }
        };
        let is_in_touch = self.standing.borrow().is_good();
        match is_in_touch {
            true => self.compare_clocks(server).await?,
            false => self.set_clock(server).await?,
        }
        schema::prepare(server, &self.clock).await?;
        Ok(server.clone())
    }

    /// Keeps the clock by the server's, until there is trouble or it is time to look at everything.
    async fn stay_in_touch(&self, server: &Server) {
        let until = Instant::now() + LOOK_AT_ALL;
        while Instant::now() < until {
            let troubled = tokio::time::timeout(COMPARE, self.trouble.notified()).await.is_ok();
            if troubled || self.compare_clocks(server).await.is_err() {
                return;
            }
        }
    }

    /// Keeps the clock where it is, or sets it anew if the server's has gone far.
    async fn compare_clocks(&self, server: &Server) -> Result<(), Fault> {
        let reading = self.read_clock(server).await?;
        if reading.ahead_ms.unsigned_abs() > FAR_MS {
            return self.set_clock(server).await;
        }
        self.correct(reading);
        Ok(())
    }

    async fn set_clock(&self, server: &Server) -> Result<(), Fault> {
        let mut best = self.read_clock(server).await?;
        for _ in 1..READINGS {
            let reading = self.read_clock(server).await?;
            if reading.took < best.took {
                best = reading;
            }
        }
        self.correct(best);
        Ok(())
    }

    async fn read_clock(&self, server: &Server) -> Result<Reading, Fault> {
        let began = Instant::now();
        let reply = server.run("hello", rawdoc! { "hello": 1 }).await?;
        let (took, here) = (began.elapsed(), self.clock.now());
        let there = reply.get_datetime("localTime").map_err(|error| Fault::Corrupt(error.to_string()))?;
        let way = i64::try_from(took.as_millis() / 2).unwrap_or(i64::MAX);
        let ahead_ms = there.timestamp_millis().saturating_add(way).saturating_sub(here.as_millis());
        Ok(Reading { took, ahead_ms })
    }

    /// Moves the clock by what it differs from the server's, as far as that can be told.
    fn correct(&self, Reading { took, ahead_ms }: Reading) {
        // A difference within the reading's own error is none.
        let error_ms = u64::try_from(took.as_millis() / 2).unwrap_or(u64::MAX).saturating_add(1);
        if ahead_ms.unsigned_abs() <= error_ms {
            return;
        }
        match ahead_ms.unsigned_abs() > FAR_MS {
            true => tracing::info!(offset_ms = ahead_ms, "the clock is set by the store's"),
            false => tracing::debug!(offset_ms = ahead_ms, "the clock is kept by the store's"),
        }
        self.clock.correct(ahead_ms);
    }
}

/// The server's clock, as it was read once.
struct Reading {
    /// The way to the server and back.
    took: Duration,
    /// How far it is ahead of ours.
    ahead_ms: i64,
}
