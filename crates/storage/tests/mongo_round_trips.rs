//! Concurrent callers share commands. The store's own metrics tell how many round trips there were.

#[path = "mongo/place.rs"]
#[allow(dead_code, reason = "shared with the other tests on MongoDB")]
mod place;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use gristmill_common::{State, job::JobKey};
use gristmill_storage::{
    Inserted, Store,
    conformance::{at, claim_of, job, succeed},
};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

#[derive(Default)]
struct Number(AtomicU64);

impl CounterFn for Number {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::SeqCst);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::SeqCst);
    }
}

/// Keeps the counter of round trips, by command.
#[derive(Default, Clone)]
struct RoundTrips(Arc<Mutex<BTreeMap<String, Arc<Number>>>>);

impl RoundTrips {
    fn by_command(&self) -> BTreeMap<String, u64> {
        let numbers = self.0.lock().expect("no panic");
        numbers.iter().map(|(command, number)| (command.clone(), number.0.load(Ordering::SeqCst))).collect()
    }
}

impl Recorder for RoundTrips {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != "gristmill_store_round_trips_total" {
            return Counter::noop();
        }
        let command = key.labels().find(|label| label.key() == "command").expect("a command").value().to_owned();
        Counter::from_arc(Arc::clone(self.0.lock().expect("no panic").entry(command).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

const CALLERS: usize = 256;
const EACH: usize = 8;
/// What a worker claims at once, and runs.
const SLOTS: usize = 64;

async fn submit(store: &Arc<dyn Store>) -> Vec<JobKey> {
    let callers = (0..CALLERS).map(|_| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut keys = Vec::new();
            for n in 0..EACH {
                let new = job(at(n as u64));
                keys.push(new.job.key.clone());
                let stored = store.insert(vec![new]).await.expect("it is stored");
                assert!(matches!(stored[..], [Inserted::Created]));
            }
            keys
        })
    });
    let keys = futures::future::join_all(callers).await;
    keys.into_iter().flat_map(|keys| keys.expect("no panic")).collect()
}

/// Claims batch after batch, and settles each job by itself, as its handler ends.
async fn run(store: &Arc<dyn Store>, keys: &[JobKey]) {
    for batch in keys.chunks(SLOTS) {
        let claimed = store.claim(claim_of(batch, at(100))).await.expect("a claim");
        assert_eq!(claimed.len(), batch.len());
        let settles = claimed.into_iter().map(|claimed| {
            let (store, settle) = (Arc::clone(store), succeed(&claimed.job, at(200)));
            tokio::spawn(async move { store.apply(vec![settle]).await.expect("an answer").remove(0) })
        });
        for settled in futures::future::join_all(settles).await {
            assert_eq!(settled.expect("no panic").expect("its lease holds").state, State::Succeeded);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_jobs_take_few_round_trips() {
    let seen = RoundTrips::default();
    metrics::set_global_recorder(seen.clone()).expect("the only recorder");
    let place = place::Place::new();
    let store = place.ready().await;
    let before = seen.by_command();

    let began = Instant::now();
    let keys = submit(&store).await;
    let submitted = began.elapsed();
    run(&store, &keys).await;
    let done = began.elapsed();

    let mut total = 0;
    for (command, count) in seen.by_command() {
        let count = count - before.get(&command).copied().unwrap_or(0);
        println!("{command}: {count}");
        // What the supervisor asks is no job's.
        if !["hello", "ping", "listIndexes", "driver"].contains(&command.as_str()) {
            total += count;
        }
    }
    let thousands = keys.len() as f64 / 1_000.0;
    println!("{:.0} inserts/s", keys.len() as f64 / submitted.as_secs_f64());
    println!("{:.0} claimed and settled/s", keys.len() as f64 / (done - submitted).as_secs_f64());
    println!("{:.0} round trips per 1,000 jobs", total as f64 / thousands);
    assert!(total as f64 / thousands <= 150.0, "{total} round trips for {} jobs", keys.len());

    // An operation that is alone waits for nobody.
    let mut slowest = std::time::Duration::ZERO;
    let began = Instant::now();
    for n in 0..200 {
        let each = Instant::now();
        store.insert(vec![job(at(n))]).await.expect("it is stored");
        slowest = slowest.max(each.elapsed());
    }
    println!("{:.0} inserts/s one by one, the slowest {slowest:?}", 200.0 / began.elapsed().as_secs_f64());
}
