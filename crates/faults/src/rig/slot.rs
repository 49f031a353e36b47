//! A slot: where a node lives, dies, and is started again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gristmill_broker::Broker;
use gristmill_common::Clock;
use gristmill_engine::{Engine, Lead};
use tokio::runtime;

use super::{
    mood::Mood,
    node::{Node, Parts},
    place::Place,
    plan::NodePlan,
};
use crate::{tally::Tally, witness::Witness};

/// A slot; the node in it, if there is one, is killed with it.
pub(crate) struct Slot {
    parts: Parts,
    tally: Tally,
    /// By how much its clock is ahead, in milliseconds.
    ahead: AtomicI64,
    node: Mutex<Option<Node>>,
    /// Held while a node is started: there is one at a time.
    filling: tokio::sync::Mutex<()>,
    /// Those that were asked to stop.
    leaving: Mutex<Vec<Node>>,
}

impl Slot {
    pub(crate) fn new(
        seed: u64,
        plan: &NodePlan,
        place: &Place,
        broker: &Arc<dyn Broker>,
        witness: &Witness,
        tally: &Tally,
    ) -> Self {
        if plan.lead == Lead::Always {
            tally.injected("second leader");
        }
        let parts = Parts {
            place: place.clone(),
            broker: broker.clone(),
            mood: Arc::new(Mood::new(seed, plan.rates, tally.clone())),
            clock: Clock::start(),
            witness: witness.clone(),
            lead: plan.lead,
        };
        let (ahead, node, filling, leaving) = Default::default();
        Self { parts, tally: tally.clone(), ahead, node, filling, leaving }
    }

    pub(crate) fn mood(&self) -> &Mood {
        &self.parts.mood
    }

    /// By how much its clock is ahead of the host's, in milliseconds.
    pub(crate) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::SeqCst)
    }

    /// Sets its clock by so many milliseconds, as a store does that sees that its server's was set.
    pub(crate) fn step(&self, millis: i64) {
        self.ahead.fetch_add(millis, Ordering::SeqCst);
        self.parts.clock.correct(millis);
    }

    /// Starts a node, if there is none.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) async fn fill(&self) -> anyhow::Result<()> {
        let _turn = self.filling.lock().await;
        if locked(&self.node).is_none() {
            let node = Node::start(self.parts.clone()).await?;
            *locked(&self.node) = Some(node);
        }
        Ok(())
    }

    /// The engine of the node, and where to use it.
    pub(crate) fn engine(&self) -> Option<(Engine, runtime::Handle)> {
        locked(&self.node).as_ref().map(|node| (node.engine(), node.runtime().clone()))
    }

    /// Kills the node, if there is one.
    pub(crate) async fn kill(&self) {
        let node = locked(&self.node).take();
        if let Some(node) = node {
            self.tally.injected("kill");
            node.kill().await;
        }
    }

    /// Asks the node to stop, and leaves it to itself.
    pub(crate) fn drain(&self) {
        if let Some(node) = locked(&self.node).take() {
            self.tally.injected("stop");
            node.drain();
            locked(&self.leaving).push(node);
        }
    }

    pub(crate) fn freeze(&self, time: Duration) {
        if let Some(node) = &*locked(&self.node) {
            self.tally.injected("freeze");
            node.freeze(time);
        }
    }

    /// Ends everything, and waits until it has ended.
    pub(crate) async fn empty(&self) {
        let leaving = std::mem::take(&mut *locked(&self.leaving));
        let node = locked(&self.node).take();
        for node in leaving.into_iter().chain(node) {
            node.kill().await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
