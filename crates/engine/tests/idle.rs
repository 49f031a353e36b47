//! What an idle scheduler costs the store: the same whether nothing waits for the future or a hundred thousand do.

#[path = "support/counted.rs"]
mod counted;
mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use counted::Counted;
use gristmill_common::{
    Body, Clock, JobId, State, Tenant,
    job::{Job, JobKey, NewJob},
};
use gristmill_engine::{Engine, EngineConfig, Lead, Scheduler, SchedulerConfig};
use gristmill_storage::Store;
use gristmill_testkit::eventually;
use tokio_util::sync::CancellationToken;

const SCHEDULED: usize = 100_000;
const BATCH: usize = 5_000;
/// How many ticks are watched.
const TICKS: f64 = 40.0;

/// Jobs that run in a day, or later.
async fn fill(store: &dyn Store, clock: &Clock) {
    let now = clock.now();
    for batch in 0..SCHEDULED / BATCH {
        let later = |place: usize| {
            let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
            let at = now + Duration::from_secs(86_400 + (batch * BATCH + place) as u64);
            let job = Job::accepted(key, "sleep".parse().expect("a name"), now);
            let job = Job { state: State::Scheduled, wake_at: at, run_at: Some(at), ..job };
            NewJob { job, payload: Body::Inline("{}".into()), text: None }
        };
        store.insert((0..BATCH).map(later).collect()).await.expect("inserted");
    }
}

/// The calls that an idle tick makes of the store, by name, and what they return on average.
async fn calls_of_a_tick(scheduled: bool) -> BTreeMap<&'static str, f64> {
    let data = tempfile::tempdir().expect("a folder");
    let clock = Clock::start();
    let store = gristmill_storage::open(&format!("sqlite://{}", data.path().display()), &clock).await.expect("a store");
    if scheduled {
        fill(&*store.store, &clock).await;
    }
    let store = Arc::new(Counted::new(store.store));
    let broker = gristmill_broker::open("embedded:").await.expect("a broker").broker;
    let shutdown = CancellationToken::new();
    let (registry, config) = (support::registry(), EngineConfig::default());
    let engine = Engine::start(store.clone(), broker, registry, clock, config, shutdown.clone());
    let engine = engine.await.expect("an engine");
    let config = SchedulerConfig { tick: Duration::from_millis(50), lead: Lead::Always, ..SchedulerConfig::default() };
    let config = SchedulerConfig { lease: Duration::from_millis(1), ..config };
    let scheduler = Scheduler::new(engine, config);
    let running = tokio::spawn(async move { scheduler.run().await });
    // Each tick reads what is overdue once.
    let ticks = || store.calls("overdue") as f64;
    eventually("it ticks", || async { (ticks() >= 2.0).then_some(()) }).await;
    let (before, ticks_before) = (store.all(), ticks());
    eventually("it has ticked", || async { (ticks() >= ticks_before + TICKS).then_some(()) }).await;
    let (after, watched) = (store.all(), ticks() - ticks_before);
    shutdown.cancel();
    running.await.expect("stopped");
    assert_eq!(store.told(), 0, "nothing was due");
    let of_one = after.iter().map(|(name, calls)| (*name, (calls - before.get(name).unwrap_or(&0)) as f64 / watched));
    of_one.filter(|(_, calls)| *calls > 0.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_jobs_in_the_future_cost_an_idle_tick_nothing() {
    let none = calls_of_a_tick(false).await;
    let many = calls_of_a_tick(true).await;
    println!("an idle tick, with none waiting: {none:.2?}\nwith {SCHEDULED}: {many:.2?}");
    // The duties tick beside each other, each for itself.
    for name in ["due", "overdue", "due_registers", "lanes"] {
        let (none, many) = (none[name], many[name]);
        assert!((0.5 * none..2.0 * none).contains(&many), "{name}: {none} and {many}");
    }
    let often = |calls: &BTreeMap<&'static str, f64>| -> Vec<&'static str> {
        calls.iter().filter(|(_, calls)| **calls > 0.4).map(|(name, _)| *name).collect()
    };
    assert_eq!(often(&none), often(&many));
}
