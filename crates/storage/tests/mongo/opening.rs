//! Opening: what is not there yet, what is not as it should be, and what comes at the same moment.

use std::time::{Duration, Instant};

use gristmill_common::{Clock, job::NewJob};
use gristmill_storage::{
    Store, StoreError,
    conformance::{at, get, insert, job},
};
use gristmill_testkit::{Manner, Proxy, eventually};
use mongodb::bson::{Document, doc};

use crate::place::{Place, answers, host, open, url};

/// The reason, as soon as it is known.
async fn reason(store: &dyn Store, wanted: &str) -> StoreError {
    eventually(wanted, async || match store.ping().await {
        Err(error) if error.to_string().contains(wanted) => Some(error),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_at_once_without_its_password() {
    for url in
        ["mongodb://", "mongodb://u:hunter2@", "mongodb://u:hunter2@host:port/db", "mongodb://h/?w=hunter2&tls=x"]
    {
        let error = gristmill_storage::open(url, &Clock::start()).await.err().expect("the URL is refused");
        assert!(matches!(error, StoreError::Url(_)), "{url}: {error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_later_is_found() {
    let place = Place::new();
    let proxy = Proxy::start(host()).await.expect("a proxy");
    proxy.treat(Manner::Refuse);
    let began = Instant::now();
    let opened =
        gristmill_storage::open(&place.url_by(proxy.address()), &Clock::start()).await.expect("the URL is one");
    let early = opened.store.insert(vec![job(at(0))]).await;
    assert!(matches!(early, Err(StoreError::Unavailable(_))), "{early:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "nothing waits for the server");
    let error = reason(&*opened.store, "no server answers").await;
    assert_eq!(error.to_string().lines().count(), 1);
    proxy.treat(Manner::Forward);
    answers(&*opened.store).await;
    opened.store.insert(vec![job(at(0))]).await.expect("it is stored");
    // And it is found again when it went away in the middle.
    proxy.treat(Manner::Refuse);
    reason(&*opened.store, "no server answers").await;
    eventually("what is known to be away is not waited for", async || {
        let began = Instant::now();
        let failed = opened.store.logs(&job(at(0)).job.key).await.is_err();
        (failed && began.elapsed() < Duration::from_millis(500)).then_some(())
    })
    .await;
    proxy.treat(Manner::Forward);
    answers(&*opened.store).await;
    opened.store.insert(vec![job(at(0))]).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_refused_is_told_as_such() {
    let place = Place::new();
    let with_password = url(&format!("mongodb://somebody:hunter2@{}", host()), "any");
    let opened = gristmill_storage::open(&with_password, &Clock::start()).await.expect("the URL is one");
    let error = reason(&*opened.store, "refused the user name or the password").await;
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    drop(place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_is_refused_until_it_is_ours() {
    let place = Place::new();
    let set_version = async |version: i64| {
        place
            .beside(async |database| {
                let schema = database.collection::<Document>("schema");
                schema.update_one(doc! {"_id": "schema"}, doc! {"$set": {"version": version}}).upsert(true).await
            })
            .await
    };
    set_version(99).await;
    let opened = gristmill_storage::open(&place.url(), &Clock::start()).await.expect("the URL is one");
    let error = reason(&*opened.store, "schema is version 99").await;
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 2 }), "{error:?}");
    let refused = opened.store.insert(vec![job(at(0))]).await;
    assert!(matches!(refused, Err(StoreError::NewerSchema { .. })), "{refused:?}");
    let error = gristmill_storage::pending(&place.url()).await.expect_err("it is newer");
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 2 }), "{error:?}");
    set_version(1).await;
    answers(&*opened.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_somebody_else_is_named() {
    let place = Place::new();
    let others = doc! {"createIndexes": "jobs", "indexes": [{"key": {"state": 1}, "name": "duties"}]};
    place.beside(async |database| database.run_command(others).await).await;
    let opened = gristmill_storage::open(&place.url(), &Clock::start()).await.expect("the URL is one");
    let error = reason(&*opened.store, "`duties`").await;
    assert!(error.to_string().contains("`jobs`") && error.to_string().contains("(state)"), "{error}");
    place.beside(async |database| database.collection::<Document>("jobs").drop_index("duties").await).await;
    answers(&*opened.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_a_new_database_at_once_migrate_it_once() {
    let place = Place::new();
    let url = place.url();
    let clock = Clock::start();
    let stores = futures::future::join_all((0..8).map(|_| open(&url, &clock))).await;
    for store in &stores {
        store.insert(vec![job(at(0))]).await.expect("it is stored");
    }
    let schema = place
        .beside(async |database| database.collection::<Document>("schema").find_one(doc! {"_id": "schema"}).await)
        .await
        .expect("the schema has a version");
    assert_eq!(schema.get_i64("version").ok(), Some(2), "{schema}");
    assert!(schema.get("lock").is_none(), "nobody holds the lock any more: {schema}");
    let names = place.beside(async |database| database.collection::<Document>("jobs").list_index_names().await).await;
    assert_eq!(names.len(), 5, "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_was_left_behind_is_taken_over() {
    let place = Place::new();
    let now = mongodb::bson::DateTime::now();
    let until = |millis: i64| mongodb::bson::DateTime::from_millis(now.timestamp_millis() + millis);
    let lock = async |until: mongodb::bson::DateTime| {
        place
            .beside(async |database| {
                let schema = database.collection::<Document>("schema");
                let lock = doc! {"$set": {"lock": {"holder": "somebody", "until": until}}};
                schema.update_one(doc! {"_id": "schema"}, lock).upsert(true).await
            })
            .await
    };
    lock(until(60_000)).await;
    let opened = gristmill_storage::open(&place.url(), &Clock::start()).await.expect("the URL is one");
    reason(&*opened.store, "another process is migrating").await;
    lock(until(-1)).await;
    answers(&*opened.store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_set_by_the_servers() {
    let place = Place::new();
    for hours in [-5, 3] {
        let clock = Clock::start();
        clock.shift(hours * 3_600_000);
        let _store = open(&place.url(), &clock).await;
        let apart = (clock.now().as_millis() - Clock::start().now().as_millis()).abs();
        assert!(apart < 250, "{apart} ms apart");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_astray_is_set_right_within_seconds() {
    let place = Place::new();
    let (clock, right) = (Clock::start(), Clock::start());
    let _store = open(&place.url(), &clock).await;
    clock.shift(-7_200_000);
    let began = Instant::now();
    eventually("the clock is right", async || {
        let apart = (clock.now().as_millis() - right.now().as_millis()).abs();
        (apart < 250).then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(clock.steps() > 0, "whoever goes by the clock is told of it");
}

async fn versions(place: &Place) -> Vec<u32> {
    let pending = gristmill_storage::pending(&place.url()).await.expect("an answer");
    assert!(pending.iter().all(|migration| !migration.what.is_empty()), "{pending:?}");
    pending.into_iter().map(|migration| migration.version).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_is_migrated_and_can_be_looked_at_before() {
    let place = Place::new();
    let collections = async || place.beside(async |database| database.list_collection_names().await).await;
    assert_eq!(versions(&place).await, [1, 2]);
    assert!(collections().await.is_empty(), "looking at a new database makes nothing");

    // As the first version left it.
    let store = place.ready().await;
    let jobs: Vec<NewJob> = (0..3).map(|n| job(at(n))).collect();
    insert(&store, jobs.clone()).await;
    drop(store);
    place
        .beside(async |database| {
            database.collection::<Document>("registers").drop().await?;
            let schema = database.collection::<Document>("schema");
            schema.update_one(doc! {"_id": "schema"}, doc! {"$set": {"version": 1}}).await
        })
        .await;
    let before = collections().await;
    assert_eq!(versions(&place).await, [2]);
    assert_eq!(collections().await, before, "looking changes nothing");

    let store = place.ready().await;
    assert!(versions(&place).await.is_empty());
    for new in &jobs {
        assert_eq!(get(&store, &new.job.key).await, new.job);
    }
    let indexes = async || {
        place.beside(async |database| database.collection::<Document>("registers").list_index_names().await).await
    };
    assert_eq!(indexes().await.len(), 2);

    // An index that somebody drops is made again.
    place.beside(async |database| database.collection::<Document>("registers").drop_index("due").await).await;
    let pending = gristmill_storage::pending(&place.url()).await.expect("an answer");
    assert!(pending.len() == 1 && pending[0].version == 2 && pending[0].what.contains("`due`"), "{pending:?}");
    let _store = place.ready().await;
    assert_eq!((versions(&place).await, indexes().await.len()), (Vec::new(), 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_tells_nothing_of_its_schema() {
    let proxy = Proxy::start(host()).await.expect("a proxy");
    proxy.treat(Manner::Refuse);
    let error = gristmill_storage::pending(&Place::new().url_by(proxy.address())).await.expect_err("nobody answers");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(matches!(gristmill_storage::pending("mongodb://").await, Err(StoreError::Url(_))));
}
