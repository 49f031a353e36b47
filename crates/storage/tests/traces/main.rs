//! Both stores beside the model of the protocol: what steps of the model ask of a store is asked of a real one, and
//! what many do at once is put in line afterwards.
//!
//! A walk goes by its seed, which is told when a walk fails. `GRISTMILL_TRACES=1000` walks from so many seeds.

#[path = "../mongo/place.rs"]
#[allow(dead_code, reason = "shared with the other tests on MongoDB")]
mod place;
mod racing;
mod replay;

use std::sync::Arc;

use gristmill_common::Clock;
use gristmill_storage::Store;

/// From how many seeds a test walks.
fn seeds() -> u64 {
    std::env::var("GRISTMILL_TRACES").map_or(50, |number| number.parse().expect("GRISTMILL_TRACES is a number"))
}

async fn sqlite(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let url = format!("sqlite://{}", folder.path().join("data").display());
    gristmill_storage::open(&url, &Clock::start()).await.expect("the store opens").store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_does_what_the_model_says() {
    let folder = tempfile::tempdir().expect("a folder");
    replay::all(sqlite(&folder).await, seeds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mongodb_does_what_the_model_says() {
    let place = place::Place::new();
    replay::all(place.ready().await, seeds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_do_at_once_to_sqlite_happened_in_the_order_of_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = sqlite(&folder).await;
    racing::all([Arc::clone(&store), store], seeds()).await;
}

/// Two processes share a MongoDB, and each believes that it knows the jobs that it has claimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_do_at_once_to_mongodb_happened_in_the_order_of_versions() {
    let place = place::Place::new();
    racing::all([place.ready().await, place.ready().await], seeds()).await;
}
