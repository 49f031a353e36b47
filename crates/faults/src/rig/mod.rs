//! The rig: two or three nodes in this process, on one store and one broker, under a load and a schedule of faults that
//! a seed decides. Many schedules run side by side: mostly they wait.

mod broker;
mod draft;
mod load;
mod mood;
mod node;
mod place;
mod plan;
mod slot;
mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use gristmill_broker::Broker;
use gristmill_common::{BandKey, QueueRecord, Tenant, Timestamp, http::ReplayRequest, job::Priority};
use gristmill_engine::EngineError;
use gristmill_storage::{Kind, Store, StoreError, Whole};

use self::{
    load::Load,
    place::Place,
    plan::{Action, Plan},
    slot::Slot,
};
use crate::{oracle, tally::Tally, witness::Witness};

/// How many schedules run at once.
const SIDE_BY_SIDE: usize = 12;
/// How long everything may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(180);
/// What passes at once when everybody has waited long enough, in milliseconds: longer than a ring is put off. It
/// doubles each time, as rings are put off for twice as long each time, up to more than the hour where that ends.
const A_WHILE_MS: i64 = 130_000;
const MOST_DOUBLINGS: u32 = 5;
/// How long that is waited for. It grows by half each time: on a slow machine leases must hold in between.
const LONG_ENOUGH: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PAGE: usize = 500;

/// Where the schedules of a round keep their jobs.
#[derive(Debug, Clone)]
pub(crate) enum Stores {
    /// Each in a data folder of its own.
    Sqlite,
    /// Each in a database of its own on this server.
    Mongo(String),
}

/// Runs the schedules of these seeds; says which went wrong.
pub(crate) async fn run(stores: &Stores, seeds: &[u64], tally: &Tally) -> Vec<u64> {
    let began = Instant::now();
    let (done, every) = (AtomicU64::new(0), (seeds.len() as u64 / 5).max(1));
    let done = &done;
    let outcomes = stream::iter(seeds).map(|&seed| async move {
        let is_clean = one(stores, seed, tally).await;
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        if number.is_multiple_of(every) {
            println!("  {number} of {} schedules after {:.1?}", seeds.len(), began.elapsed());
        }
        (!is_clean).then_some(seed)
    });
    let failed: Vec<Option<u64>> = outcomes.buffer_unordered(SIDE_BY_SIDE).collect().await;
    failed.into_iter().flatten().collect()
}

async fn one(stores: &Stores, seed: u64, tally: &Tally) -> bool {
    let place = format!("seed {seed}");
    let judged = async { Schedule::set(stores, Plan::of(seed), tally).await?.run().await };
    let judged = match tokio::time::timeout(3 * PATIENCE, judged).await {
        Ok(judged) => judged,
        Err(_) => Err(anyhow::anyhow!("it hangs")),
    };
    match judged {
        Ok(verdict) => {
            tally.judged(&place, &verdict);
            verdict.complaints.is_empty()
        }
        Err(error) => {
            tally.complain(&place, &format!("{error:#}"));
            false
        }
    }
}

struct Schedule {
    plan: Plan,
    place: Place,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    slots: Arc<Vec<Slot>>,
    witness: Witness,
    tally: Tally,
}

impl Schedule {
    async fn set(stores: &Stores, plan: Plan, tally: &Tally) -> anyhow::Result<Self> {
        let place = match stores {
            Stores::Sqlite => Place::folder().await?,
            Stores::Mongo(server) => Place::database(server),
        };
        let store = place.open().await?;
        let broker = gristmill_broker::open("embedded:").await?.broker;
        declare_queues(&*store).await?;
        let witness = Witness::default();
        let mut slots = Vec::new();
        for (number, node) in plan.nodes.iter().enumerate() {
            let slot = Slot::new(plan.seed ^ (number as u64 + 1), node, &place, &broker, &witness, tally);
            slot.fill().await?;
            slots.push(slot);
        }
        Ok(Self { plan, place, store, broker, slots: Arc::new(slots), witness, tally: tally.clone() })
    }

    async fn run(self) -> anyhow::Result<oracle::Verdict> {
        let began = Instant::now();
        let mut load = Load::start(&self.plan, self.slots.clone());
        for &(at, action) in &self.plan.actions {
            tokio::time::sleep_until((began + at).into()).await;
            self.act(action).await?;
        }
        self.heal().await?;
        if self.plan.cron.is_none_or(|cron| !cron.stays) {
            load.unschedule().await;
        }
        self.witness.calm_until(Some(Instant::now()).filter(|_| !self.plan.sets_clocks()));
        self.let_pass(A_WHILE_MS);
        let accepted = load.accepted_within(PATIENCE).await;
        self.all_end().await?;
        for slot in self.slots.iter() {
            slot.empty().await;
        }
        let (accepted, complaints) = accepted;
        let stored = everything(&*self.store).await?;
        let mut verdict = oracle::judge(&accepted, &stored, Some(&self.witness.seen_so_far()));
        verdict.complaints.extend(complaints);
        // The folder goes with it, and not before.
        drop(self.place);
        Ok(verdict)
    }

    async fn act(&self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Kill(node) => self.slots[node].kill().await,
            Action::Drain(node) => self.slots[node].drain(),
            Action::Start(node) => {
                // A node whose store is stalled does not start before that is over.
                let slots = self.slots.clone();
                tokio::spawn(async move { slots[node].fill().await });
            }
            Action::Freeze(node, time) => self.slots[node].freeze(time),
            Action::Stall(node) => {
                self.tally.injected("stall");
                self.slots[node].mood().stall(true);
            }
            Action::Unstall(node) => self.slots[node].mood().stall(false),
            Action::Step(node, millis) => {
                self.tally.injected("clock step");
                self.slots[node].step(millis);
            }
            Action::Purge => {
                self.tally.injected("purge");
                for queue in ["default", draft::LIMITED, draft::DEAD] {
                    for priority in Priority::ALL {
                        // A queue that no node has declared yet holds nothing.
                        let _ = self.broker.purge(&BandKey { queue: queue.parse()?, priority }).await;
                    }
                }
            }
            Action::Replay(node) => {
                let slots = self.slots.clone();
                tokio::spawn(async move { replay(&slots[node]).await });
            }
            Action::Rest => {}
        }
        Ok(())
    }

    /// From now on nothing goes wrong, and every node is there.
    async fn heal(&self) -> anyhow::Result<()> {
        for slot in self.slots.iter() {
            slot.mood().heal();
            slot.fill().await?;
        }
        Ok(())
    }

    /// Sets all clocks to one time, after everything that anybody has put off.
    fn let_pass(&self, millis: i64) {
        let latest = self.slots.iter().map(Slot::ahead).max().unwrap_or_default();
        for slot in self.slots.iter() {
            slot.step(latest + millis - slot.ahead());
        }
    }

    /// Whether all jobs have ended, by counts that may be a little old.
    async fn seem_ended(&self) -> Result<bool, StoreError> {
        let counts = self.store.counts(None).await?;
        Ok(counts.iter().all(|queue| queue.count == 0 || queue.state.is_terminal()))
    }

    /// Waits until every job has ended. What has not in time is for the oracle to find.
    async fn all_end(&self) -> Result<(), StoreError> {
        let (healed, mut passed) = (Instant::now(), Instant::now());
        let (mut times, mut enough) = (0, LONG_ENOUGH);
        while healed.elapsed() < PATIENCE {
            // First those that are to run again: what ends after that has ended for good.
            if self.seem_ended().await?
                && replay(&self.slots[0]).await == Some(0)
                && everything(&*self.store).await?.iter().all(|whole| whole.job.state.is_terminal())
            {
                return Ok(());
            }
            if passed.elapsed() > enough {
                times += 1;
                self.let_pass(A_WHILE_MS << times.min(MOST_DOUBLINGS));
                (passed, enough) = (Instant::now(), enough.mul_f64(1.5));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Declares the queues that are not there anyway, before anybody looks.
async fn declare_queues(store: &dyn Store) -> anyhow::Result<()> {
    for (name, rate_limit) in [(draft::LIMITED, Some(draft::RATE)), (draft::DEAD, None)] {
        let created_at = Timestamp::from_millis(0);
        let record = QueueRecord { name: name.parse()?, paused: false, rate_limit, created_at };
        store.add_record(Kind::Queue, name, serde_json::to_value(record)?).await?;
    }
    Ok(())
}

/// Runs the dead letters again that are meant to be; says how many, if it is known.
async fn replay(slot: &Slot) -> Option<u64> {
    let (engine, runtime) = slot.engine()?;
    let asked = runtime.spawn(async move {
        let queue = Some(draft::DEAD.parse().map_err(|_| EngineError::NoSuchQueue)?);
        engine.replay(&Tenant::default(), ReplayRequest { queue, ..ReplayRequest::default() }).await
    });
    Some(asked.await.ok()?.ok()?.replayed)
}

/// Every job there is.
pub(crate) async fn everything(store: &dyn Store) -> Result<Vec<Whole>, StoreError> {
    let mut all: Vec<Whole> = Vec::new();
    loop {
        let page = store.walk(all.last().map(|whole| &whole.job.key), PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
