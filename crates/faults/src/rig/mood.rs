//! The mood that a node's store and broker are in: what becomes of the next call.

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::plan::Rates;
use crate::tally::Tally;

/// The longest that a late call is held up.
const LATEST_MS: u64 = 120;

/// What becomes of calls, drawn by lot from a seed.
pub(crate) struct Mood {
    lot: Mutex<fastrand::Rng>,
    rates: Mutex<Rates>,
    stalled: watch::Sender<bool>,
    tally: Tally,
}

/// What becomes of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dispatched {
    /// It arrives.
    Once,
    /// It arrives twice.
    Twice,
    /// It is lost, and the sender does not know.
    Never,
}

impl Mood {
    pub(crate) fn new(seed: u64, rates: Rates, tally: Tally) -> Self {
        Self {
            lot: Mutex::new(fastrand::Rng::with_seed(seed)),
            rates: Mutex::new(rates),
            stalled: watch::Sender::new(false),
            tally,
        }
    }

    /// From now on nothing goes wrong.
    pub(crate) fn heal(&self) {
        *locked(&self.rates) = Rates::default();
        self.stall(false);
    }

    /// Every call, and every answer, is held up until this is taken back.
    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    /// Waits until calls pass.
    pub(crate) async fn passes(&self) {
        // The sender is here: there is no error.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }

    /// A call of the store.
    pub(crate) async fn around<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        unavailable: impl Fn() -> E,
    ) -> Result<T, E> {
        self.passes().await;
        let rates = *locked(&self.rates);
        if self.draws(rates.late, "call late") {
            let held_up = locked(&self.lot).u64(1..=LATEST_MS);
            tokio::time::sleep(Duration::from_millis(held_up)).await;
        }
        if self.draws(rates.refused, "call refused") {
            return Err(unavailable());
        }
        let answer = call.await;
        self.passes().await;
        if self.draws(rates.reply_lost, "reply lost") { Err(unavailable()) } else { answer }
    }

    /// Whether the broker is away just now.
    pub(crate) fn broker_is_away(&self) -> bool {
        let rate = locked(&self.rates).broker_away;
        self.draws(rate, "broker away")
    }

    /// What becomes of the next dispatch.
    pub(crate) fn of_a_dispatch(&self) -> Dispatched {
        let rates = *locked(&self.rates);
        if self.draws(rates.dropped, "message lost") {
            Dispatched::Never
        } else if self.draws(rates.doubled, "message doubled") {
            Dispatched::Twice
        } else {
            Dispatched::Once
        }
    }

    fn draws(&self, per_mille: u32, kind: &'static str) -> bool {
        let drawn = per_mille > 0 && locked(&self.lot).u32(0..1_000) < per_mille;
        if drawn {
            self.tally.injected(kind);
        }
        drawn
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
