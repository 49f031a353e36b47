//! Documents of a newer build: this one leaves them alone, and goes on with all others.

use std::sync::Arc;

use gristmill_common::{
    State,
    job::{Concurrency, Gates, Job, JobKey, Lane, Limits, NewJob, Priority},
};
use gristmill_storage::{
    DueScan, Expect, JobFilter, ListQuery, Order, RegisterKey, Removal, Space, Store, StoreError, Swap, Whom,
    conformance::{at, claim_of, get, insert, job, succeed},
};
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::place::Place;

/// One job in each state, with a deadline, that has not been looked at for long.
fn one_in_each_state() -> Vec<NewJob> {
    let mut jobs: Vec<NewJob> = State::ALL.iter().map(|_| job(at(0))).collect();
    for (new, state) in jobs.iter_mut().zip(State::ALL) {
        new.job.state = state;
        new.job.deadline = Some(at(1));
        new.job.failed_at = (state == State::Failed).then(|| at(1));
    }
    jobs
}

async fn document(place: &Place, collection: &str, id: &str) -> Document {
    let (collection, id) = (collection.to_owned(), id.to_owned());
    let found =
        place.beside(async |database| database.collection::<Document>(&collection).find_one(doc! {"_id": id}).await);
    found.await.expect("it is there")
}

fn id(key: &JobKey) -> String {
    format!("{}/{}", key.id, key.tenant)
}

/// Every scan that a duty makes, over all that is there.
async fn found_by_the_duties(store: &Arc<dyn Store>) -> Vec<Job> {
    let mut found = Vec::new();
    let lane = Lane {
        queue: "default".parse().expect("a name"),
        priority: Priority::Normal,
        tenant: "default".parse().expect("a name"),
    };
    for state in State::ALL {
        let lane = (state == State::Queued).then(|| lane.clone());
        let scan = DueScan { state, lane, until: at(1 << 40), after: None, limit: 2 };
        found.extend(store.due(&scan).await.expect("a scan"));
    }
    found.extend(store.overdue(at(1 << 40), 2).await.expect("a scan"));
    found
}

fn is_about_a_newer_build<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    match answer {
        Err(StoreError::Unavailable(reason)) if reason.to_string().contains("newer build") => {}
        other => panic!("a newer build is to be asked, not: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_a_newer_build_is_left_alone() {
    let place = Place::new();
    let store = place.ready().await;
    let theirs = one_in_each_state();
    insert(&store, theirs.clone()).await;
    // As many as a scan reads come first; ours come after them, and must be found all the same.
    place
        .beside(async |database| {
            let set = doc! {"$set": {"v": 3, "tempo": "allegro"}};
            database.collection::<Document>("jobs").update_many(doc! {}, set).await
        })
        .await;
    let mut before = Vec::new();
    for new in &theirs {
        before.push(document(&place, "jobs", &id(&new.job.key)).await);
    }
    let ours = one_in_each_state();
    insert(&store, ours.clone()).await;

    let found = found_by_the_duties(&store).await;
    assert_eq!(found.len(), State::ALL.len() + 2, "{found:?}");
    assert!(found.iter().all(|found| ours.iter().any(|new| new.job == *found)));

    let keys: Vec<JobKey> = theirs.iter().map(|new| new.job.key.clone()).collect();
    for whom in [Whom::Any, Whom::NeverRescued] {
        let claim = gristmill_storage::Claim { whom, ..claim_of(&keys, at(2)) };
        assert!(store.claim(claim).await.expect("an answer").is_empty());
    }
    assert!(store.waiting(&keys).await.expect("an answer").is_empty());
    let removal = |new: &NewJob| Removal { key: new.job.key.clone(), state: new.job.state, wake_at: new.job.wake_at };
    let removals: Vec<Removal> = theirs.iter().map(removal).collect();
    assert_eq!(store.remove(&removals).await.expect("an answer"), [false; 6]);
    let limits = Limits::default();
    let changes: Vec<_> = theirs.iter().filter_map(|new| new.job.cancel(at(3), &limits).ok()).collect();
    assert_eq!(changes.len(), 3);
    assert_eq!(store.apply(changes.clone()).await.expect("an answer"), [None, None, None]);
    // And beside one of ours in one command.
    let mixed = vec![changes[0].clone(), ours[0].job.cancel(at(3), &limits).expect("it is scheduled")];
    let made = store.apply(mixed).await.expect("an answer");
    assert!(made[0].is_none() && made[1].as_ref().is_some_and(|job| job.state == State::Cancelled), "{made:?}");

    // It is shown as far as it can be read, or a newer build is to be asked; lists leave it out.
    let told = store.jobs(&keys).await.expect("an answer");
    assert_eq!(told, theirs.iter().map(|new| Some(new.job.clone())).collect::<Vec<_>>());
    is_about_a_newer_build(store.get(&keys[0]).await);
    is_about_a_newer_build(store.insert(vec![job(at(9)), theirs[0].clone()]).await);
    is_about_a_newer_build(store.whole(&keys[..1]).await);
    is_about_a_newer_build(store.walk(None, 100).await);
    for order in [Order::NewestFirst, Order::FailedOldestFirst] {
        let mut query = ListQuery {
            tenant: keys[0].tenant.clone(),
            filter: JobFilter::default(),
            order,
            after: None,
            limit: 1,
            scan_limit: 1,
        };
        let mut listed = Vec::new();
        loop {
            let page = store.list(&query).await.expect("a page");
            listed.extend(page.jobs);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert!(listed.iter().all(|job| !keys.contains(&job.key)), "{listed:?}");
        let expected = if order == Order::NewestFirst { 7 } else { 1 };
        assert_eq!(listed.len(), expected, "{order:?}");
    }
    for (new, before) in theirs.iter().zip(before) {
        assert_eq!(document(&place, "jobs", &id(&new.job.key)).await, before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_this_build_cannot_even_read_stops_nobody() {
    let place = Place::new();
    let store = place.ready().await;
    let (theirs, ours) = (job(at(0)), job(at(1)));
    insert(&store, [theirs.clone(), ours.clone()]).await;
    let id = id(&theirs.job.key);
    place
        .beside(async |database| {
            let set = doc! {"$set": {"v": 4, "priority": "presto"}, "$unset": {"type": ""}};
            database.collection::<Document>("jobs").update_one(doc! {"_id": id}, set).await
        })
        .await;
    assert_eq!(found_by_the_duties(&store).await, std::slice::from_ref(&ours.job));
    is_about_a_newer_build(store.get(&theirs.job.key).await);
    is_about_a_newer_build(store.jobs(&[ours.job.key.clone(), theirs.job.key.clone()]).await);
    let keys = [theirs.job.key, ours.job.key.clone()];
    let claimed = store.claim(claim_of(&keys, at(2))).await.expect("a claim");
    assert_eq!(claimed.iter().map(|claimed| &claimed.job.key).collect::<Vec<_>>(), [&ours.job.key]);
    let settled = store.apply(vec![succeed(&claimed[0].job, at(3))]).await.expect("a change");
    assert!(settled[0].is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_job_with_gates_has_a_version_and_it_is_as_good_as_any() {
    let place = Place::new();
    let store = place.ready().await;
    let (plain, mut gated) = (job(at(0)), job(at(0)));
    let concurrency = Some(Concurrency { key: "k".parse().expect("a key"), limit: 1 });
    gated.job.gates = Some(Box::new(Gates { concurrency, ..Gates::default() }));
    insert(&store, [plain.clone(), gated.clone()]).await;
    let version = async |new: &NewJob| document(&place, "jobs", &id(&new.job.key)).await.get("v").cloned();
    assert_eq!(version(&plain).await, None);
    assert_eq!(version(&gated).await.and_then(|version| version.as_i32()), Some(2));
    assert!(!document(&place, "jobs", &id(&plain.job.key)).await.contains_key("gates"));
    let claimed = store.claim(claim_of(std::slice::from_ref(&gated.job.key), at(1))).await.expect("a claim");
    store.apply(vec![succeed(&claimed[0].job, at(2))]).await.expect("a change");
    let ended = get(&store, &gated.job.key).await;
    assert_eq!((ended.state, &ended.gates), (State::Succeeded, &gated.job.gates));
    let removal = Removal { key: ended.key.clone(), state: ended.state, wake_at: ended.wake_at };
    assert_eq!(store.remove(&[removal]).await.expect("an answer"), [true]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_of_a_newer_build_counts_as_taken_and_is_left_alone() {
    let place = Place::new();
    let store = place.ready().await;
    let key =
        |name: &str| RegisterKey { space: Space::Unique, tenant: "a".parse().expect("a name"), name: name.into() };
    let made = |name: &str| Swap { key: key(name), expect: Expect::Absent, to: Some((json!(1), Some(at(1)))) };
    assert_eq!(store.swap(vec![made("theirs"), made("ours")]).await.expect("answers"), [true, true]);
    place
        .beside(async |database| {
            let set = doc! {"$set": {"v": 2}};
            database.collection::<Document>("registers").update_one(doc! {"_id": "unique/a/theirs"}, set).await
        })
        .await;
    let before = document(&place, "registers", "unique/a/theirs").await;
    is_about_a_newer_build(store.registers(&[key("ours"), key("theirs")]).await);
    assert_eq!(store.swap(vec![made("theirs")]).await.expect("an answer"), [false]);
    let found = [
        store.due_registers(at(9), None, 1).await.expect("a scan"),
        store.list_registers(Space::Unique, None, None, 1).await.expect("a list"),
    ];
    for found in found {
        assert_eq!(found.into_iter().map(|register| register.key).collect::<Vec<_>>(), [key("ours")]);
    }
    assert_eq!(document(&place, "registers", "unique/a/theirs").await, before);
}
