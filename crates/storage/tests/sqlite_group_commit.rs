//! Concurrent writes share commits. The store's own metrics tell how many there were.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gristmill_common::Clock;
use gristmill_storage::conformance::{at, job};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Counts the values that a histogram gets, and adds them up.
#[derive(Default)]
struct Sum {
    values: AtomicU64,
    total: AtomicU64,
}

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        self.values.fetch_add(1, Ordering::SeqCst);
        self.total.fetch_add(value as u64, Ordering::SeqCst);
    }
}

/// Keeps the two histograms of the store's writer.
#[derive(Default, Clone)]
struct WriterMetrics {
    commits: Arc<Sum>,
    batches: Arc<Sum>,
}

impl Recorder for WriterMetrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        match key.name() {
            "gristmill_store_commit_seconds" => Histogram::from_arc(Arc::clone(&self.commits)),
            "gristmill_store_batch_size" => Histogram::from_arc(Arc::clone(&self.batches)),
            _ => Histogram::noop(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_inserts_take_fewer_commits_than_there_are_inserts() {
    let seen = WriterMetrics::default();
    metrics::set_global_recorder(seen.clone()).expect("the only recorder");
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().display());
    let store = gristmill_storage::open(&url, &Clock::start()).await.expect("the store opens").store;

    let inserts = (0..64).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..10 {
                store.insert(vec![job(at(n))]).await.expect("it is stored");
            }
        })
    });
    for insert in futures::future::join_all(inserts).await {
        insert.expect("no panic");
    }
    let commits = seen.commits.values.load(Ordering::SeqCst);
    assert_eq!(seen.batches.total.load(Ordering::SeqCst), 640, "each insert is in one batch");
    assert_eq!(commits, seen.batches.values.load(Ordering::SeqCst), "each batch is one commit");
    assert!(commits < 320, "640 inserts took {commits} commits");
}
