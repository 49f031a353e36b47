//! What an idle scheduler costs the store: the same whether nothing waits for the future or a hundred thousand do.

#[path = "support/counted.rs"]
mod counted;
mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

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
const TICKS: usize = 40;
/// How many calls more, of each, may come by chance.
const SLACK: f64 = 5.0;

/// What an idle scheduler asked of its store, by name, in so many ticks and so much time.
struct Watched {
    calls: BTreeMap<&'static str, usize>,
    ticks: usize,
    time: Duration,
}

impl Watched {
    /// How many of these calls would come in as many ticks and as much time as were watched elsewhere. Some come with
    /// a tick and some with a moment: the slower the machine, the more moments a tick has.
    fn in_the_time_of(&self, other: &Self, name: &str) -> f64 {
        let calls = self.calls.get(name).copied().unwrap_or(0) as f64;
        let ticks = other.ticks as f64 / self.ticks as f64;
        calls * ticks.max(other.time.as_secs_f64() / self.time.as_secs_f64())
    }
}

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

/// The calls that idle ticks make of the store.
async fn watch(scheduled: bool) -> Watched {
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
    let ticks = || store.calls("overdue");
    eventually("it ticks", || async { (ticks() >= 2).then_some(()) }).await;
    let (began, before, ticks_before) = (Instant::now(), store.all(), ticks());
    eventually("it has ticked", || async { (ticks() >= ticks_before + TICKS).then_some(()) }).await;
    let (after, ticks, time) = (store.all(), ticks() - ticks_before, began.elapsed());
    shutdown.cancel();
    running.await.expect("stopped");
    assert_eq!(store.told(), 0, "nothing was due");
    let calls = after.iter().map(|(name, calls)| (*name, calls - before.get(name).unwrap_or(&0))).collect();
    Watched { calls, ticks, time }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_jobs_in_the_future_cost_an_idle_tick_nothing() {
    let none = watch(false).await;
    let many = watch(true).await;
    println!(
        "{} idle ticks, with none waiting: {:?}\n{}, with {SCHEDULED}: {:?}",
        none.ticks, none.calls, many.ticks, many.calls
    );
    for name in ["due", "overdue", "due_registers", "lanes"] {
        assert!(none.calls[name] > 0 && many.calls[name] > 0, "{name} belongs to a tick");
    }
    // The duties tick beside each other, each for itself.
    for (&name, &calls) in &many.calls {
        let expected = none.in_the_time_of(&many, name);
        assert!(calls as f64 <= 2.0 * expected + SLACK, "{name}: {calls}, and with none {expected:.1}");
    }
}
