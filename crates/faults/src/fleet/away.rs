//! RabbitMQ away, while half of what the fleet can do is asked of it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use gristmill_common::job::JobKey;
use gristmill_storage::Store;
use gristmill_testkit::{Answer, Http, PrivateRabbit, World};
use reqwest::Method;
use serde_json::json;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{PATIENCE, all_ended, builder, report, store_of};
use crate::{
    load::key_in,
    oracle::{Accepted, Promise},
    tally::Tally,
};

/// How many clients ask as fast as they can while the capacity is measured, and for how long.
const CLIENTS: usize = 32;
const MEASURED: Duration = Duration::from_secs(6);
/// How long the load runs before RabbitMQ goes.
const BEFORE: Duration = Duration::from_secs(2);
/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// Within so long after RabbitMQ is back everything has ended: the promise.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// How soon those that failed are sent again in the end.
const AGAIN: Duration = Duration::from_millis(100);

/// What the clients share.
#[derive(Default)]
struct Shared {
    accepted: Mutex<Vec<JobKey>>,
    /// Each job is sent once: what was not answered with 202, when, and how it was.
    failed: Mutex<Vec<Failure>>,
    number: AtomicU64,
    over: AtomicBool,
}

struct Failure {
    number: u64,
    at: Instant,
    answer: String,
}

impl Shared {
    async fn submit(&self, http: &Http) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        if let Err(answer) = self.send(http, number).await {
            locked(&self.failed).push(Failure { number, at: Instant::now(), answer });
        }
    }

    async fn send(&self, http: &Http, number: u64) -> Result<(), String> {
        let job = json!({"type": "sleep", "payload": {"ms": 0}});
        let request = http.call(Method::POST, "/jobs").header("Idempotency-Key", format!("away-{number}"));
        match Answer::try_of(request.timeout(ANSWERED_WITHIN).json(&job)).await {
            Ok(answer) if answer.status == 202 => {
                let key = key_in(&answer).ok_or(answer.text)?;
                locked(&self.accepted).push(key);
                Ok(())
            }
            Ok(answer) => Err(format!("{} {}", answer.status, answer.json["code"].as_str().unwrap_or_default())),
            Err(error) if error.is_timeout() => Err(format!("no answer within {ANSWERED_WITHIN:?}")),
            Err(error) => Err(format!("no answer: {error:?}")),
        }
    }

    /// Sends those that failed again: what was not answered may have been accepted.
    async fn send_again(&self, http: &Http) -> Vec<Failure> {
        let failed = std::mem::take(&mut *locked(&self.failed));
        let began = Instant::now();
        for failure in &failed {
            while self.send(http, failure.number).await.is_err() && began.elapsed() < PATIENCE {
                tokio::time::sleep(AGAIN).await;
            }
        }
        failed
    }

    fn number_accepted(&self) -> usize {
        locked(&self.accepted).len()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures what the fleet can do, asks half of it, and takes RabbitMQ away for so long.
///
/// # Errors
/// The fleet does not do what it should.
pub(crate) async fn hurt(tally: &Tally, time: Duration) -> anyhow::Result<()> {
    let rabbit = PrivateRabbit::start().await?;
    let fleet = builder()?.start(World::with_rabbit(&rabbit)).await?;
    let store = store_of(&fleet).await?;
    let shared = Arc::new(Shared::default());
    let capacity = capacity(&fleet.http(), &shared, &*store).await?;
    let rate = capacity / 2.0;
    let load = machine_load();
    println!("  away: {capacity:.0} jobs a second can be done, {rate:.0} are submitted; the machine's load is {load}");
    let clients = tokio::spawn(at_a_rate(fleet.http(), shared.clone(), rate));
    tokio::time::sleep(BEFORE).await;

    let (gone, before) = (Instant::now(), shared.number_accepted());
    tally.injected("RabbitMQ away");
    rabbit.stop().await?;
    tokio::time::sleep(time).await;
    rabbit.start_again().await?;
    shared.over.store(true, Ordering::Relaxed);
    let (away, back) = (gone.elapsed(), Instant::now());
    let meanwhile = shared.number_accepted() - before;
    let counts = store.counts(None).await?;
    let backlog: u64 = counts.iter().filter(|queue| !queue.state.is_terminal()).map(|queue| queue.count).sum();
    let load = machine_load();
    println!("  away: for {away:.1?}, {meanwhile} jobs accepted meanwhile, a backlog of {backlog}; the load is {load}");
    clients.await?;
    all_ended(&*store).await;
    let took = back.elapsed();
    let failed = shared.send_again(&fleet.http()).await;
    all_ended(&*store).await;

    let surely = locked(&shared.accepted).drain(..).map(|key| (key, Promise::SUCCEEDS)).collect();
    let number = failed.len();
    println!("  away: {number} submissions failed; the backlog was done {took:.1?} after RabbitMQ was back");
    for failures in told(&failed, gone) {
        tally.late("away", &failures);
    }
    report("away", &Accepted { surely, ..Accepted::default() }, Vec::new(), &*store, tally).await?;
    if took > DONE_WITHIN {
        tally.late("away", &format!("the backlog took {took:?}"));
    }
    Ok(())
}

/// How many wanted a processor in the last minute: a figure says little without it.
fn machine_load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}

/// How the submissions failed, and when the first and the last of a kind did.
fn told(failed: &[Failure], gone: Instant) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for failure in failed {
        kinds.entry(&failure.answer).or_default().push(failure.at.saturating_duration_since(gone));
    }
    let told = kinds.into_iter().map(|(kind, times)| {
        let (first, last) = (times.iter().min().copied(), times.iter().max().copied());
        let [first, last] = [first, last].map(Option::unwrap_or_default);
        format!("{} submissions failed, {first:.1?} to {last:.1?} after RabbitMQ went: {kind}", times.len())
    });
    told.collect()
}

/// How many jobs a second are submitted and done when nothing else limits that.
async fn capacity(http: &Http, shared: &Arc<Shared>, store: &dyn Store) -> anyhow::Result<f64> {
    let (began, mut clients) = (Instant::now(), JoinSet::new());
    for _ in 0..CLIENTS {
        let (http, shared) = (http.clone(), shared.clone());
        clients.spawn(async move {
            while began.elapsed() < MEASURED {
                shared.submit(&http).await;
            }
        });
    }
    clients.join_all().await;
    all_ended(store).await;
    let (number, took) = (shared.number_accepted(), began.elapsed());
    ensure!(number > 0, "nothing was accepted");
    Ok(number as f64 / took.as_secs_f64())
}

/// Submits so many a second, whether or not the ones before were answered, and waits for all answers in the end.
async fn at_a_rate(http: Http, shared: Arc<Shared>, rate: f64) {
    let mut turns = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    turns.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut clients = JoinSet::new();
    while !shared.over.load(Ordering::Relaxed) {
        turns.tick().await;
        let (http, shared) = (http.clone(), shared.clone());
        clients.spawn(async move { shared.submit(&http).await });
        while clients.try_join_next().is_some() {}
    }
    clients.join_all().await;
}
