//! Documents of this build's version that it cannot read, because somebody has edited them: they are left out of what
//! is about many jobs, and stop nobody else.

use std::sync::Arc;

use gristmill_common::{
    State, Tenant,
    job::{Job, JobKey, NewJob},
};
use gristmill_storage::{
    DueScan, Expect, RegisterKey, Space, Store, StoreError, Swap,
    conformance::{at, claim_of, insert, job, succeed},
};
use mongodb::bson::{Bson, Document, doc};

use crate::place::Place;

/// Edits the documents of these jobs, so that nobody can read them any more.
async fn spoil(place: &Place, jobs: &[NewJob]) {
    let ids: Vec<Bson> =
        jobs.iter().map(|new| Bson::from(format!("{}/{}", new.job.key.id, new.job.key.tenant))).collect();
    place
        .beside(async |database| {
            let edit = doc! {"$set": {"priority": "presto"}};
            database.collection::<Document>("jobs").update_many(doc! {"_id": {"$in": ids}}, edit).await
        })
        .await;
}

/// Jobs whose time comes at these seconds, and with it their deadline.
fn waiting_until(state: State, seconds: impl IntoIterator<Item = u64>) -> Vec<NewJob> {
    let one = |second| {
        let mut new = job(at(second));
        (new.job.state, new.job.wake_at, new.job.deadline) = (state, at(second), Some(at(second)));
        new
    };
    seconds.into_iter().map(one).collect()
}

fn keys(jobs: &[NewJob]) -> Vec<JobKey> {
    jobs.iter().map(|new| new.job.key.clone()).collect()
}

fn are<'a>(found: impl IntoIterator<Item = &'a Job>, expected: &[NewJob]) {
    let mut found: Vec<_> = found.into_iter().map(|job| job.key.clone()).collect();
    found.sort_unstable_by_key(|key| key.id.to_string());
    let mut expected = keys(expected);
    expected.sort_unstable_by_key(|key| key.id.to_string());
    assert_eq!(found, expected);
}

async fn due(store: &Arc<dyn Store>, state: State, limit: usize) -> Vec<Job> {
    store.due(&DueScan { state, lane: None, until: at(99), after: None, limit }).await.expect("a scan")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_on_without_a_job_that_cannot_be_read() {
    let place = Place::new();
    let store = place.ready().await;
    let jobs = waiting_until(State::Queued, [0, 0, 0]);
    insert(&store, jobs.clone()).await;
    spoil(&place, &jobs[1..2]).await;
    let readable = [jobs[0].clone(), jobs[2].clone()];
    are(&store.waiting(&keys(&jobs)).await.expect("an answer"), &readable);
    let claim = claim_of(&keys(&jobs), at(1));
    let lease = claim.lease;
    let claimed = store.claim(claim).await.expect("a claim");
    are(claimed.iter().map(|claimed| &claimed.job), &readable);
    let held = store.held(lease, &keys(&jobs)).await.expect("an answer");
    are(held.iter().map(|held| &held.job), &readable);
    // Asked for by itself, it tells what is wrong.
    let error = store.get(&jobs[1].job.key).await.expect_err("nobody can read it");
    assert!(matches!(&error, StoreError::Corrupt(what) if what.contains("priority")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_although_another_of_its_command_cannot_be_read_back() {
    let place = Place::new();
    let store = place.ready().await;
    let jobs = waiting_until(State::Queued, [0, 0]);
    insert(&store, jobs.clone()).await;
    let claimed = store.claim(claim_of(&keys(&jobs), at(1))).await.expect("a claim");
    spoil(&place, &jobs[..1]).await;
    // Another process settles, which knows neither job.
    let other = place.ready().await;
    let (spoilt, fine): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|claimed| claimed.job.key == jobs[0].job.key);
    let (spoilt, fine) = tokio::join!(
        other.apply(vec![succeed(&spoilt[0].job, at(2))]),
        other.apply(vec![succeed(&fine[0].job, at(2))]),
    );
    assert!(matches!(spoilt, Err(StoreError::Corrupt(_))), "{spoilt:?}");
    assert!(fine.expect("an answer")[0].is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_gets_past_what_cannot_be_read() {
    let place = Place::new();
    let store = place.ready().await;
    for state in [State::Scheduled, State::Running] {
        // More than a page of them come first, some at one moment; others come between.
        let spoilt = waiting_until(state, [0, 0, 0, 1, 1, 2, 4]);
        let fine = waiting_until(state, [1, 3, 4, 5]);
        insert(&store, spoilt.iter().chain(&fine).cloned().collect::<Vec<_>>()).await;
        spoil(&place, &spoilt).await;
        are(&due(&store, state, 1).await, &fine[..1]);
        are(&due(&store, state, 2).await, &fine[..2]);
        are(&due(&store, state, 3).await, &fine[..3]);
        are(&due(&store, state, 100).await, &fine);
    }
    let fine = store.overdue(at(99), 100).await.expect("a scan");
    assert_eq!(fine.len(), 4, "those that have not started: {fine:?}");
    for limit in 1..4 {
        let found = store.overdue(at(99), limit).await.expect("a scan");
        assert_eq!(found, fine[..limit]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_none_hides_no_other() {
    let place = Place::new();
    let store = place.ready().await;
    let jobs = waiting_until(State::Queued, [0, 0]);
    insert(&store, jobs.clone()).await;
    let id = format!("{}/{}", jobs[0].job.key.id, jobs[0].job.key.tenant);
    place
        .beside(async |database| {
            let edit = doc! {"$set": {"lane": "presto"}};
            database.collection::<Document>("jobs").update_one(doc! {"_id": id}, edit).await
        })
        .await;
    assert_eq!(store.lanes().await.expect("lanes"), [jobs[1].job.lane()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_register_that_cannot_be_read_hides_no_other() {
    let place = Place::new();
    let store = place.ready().await;
    let key = |name: &str| RegisterKey { space: Space::Schedule, tenant: Tenant::default(), name: name.into() };
    let swap = |name: &str| Swap { key: key(name), expect: Expect::Absent, to: Some(("a".into(), Some(at(0)))) };
    store.swap(["a", "b", "c", "d", "e"].map(swap).into()).await.expect("an answer");
    place
        .beside(async |database| {
            let registers = database.collection::<Document>("registers");
            for (name, edit) in [
                ("a", doc! {"$set": {"json": "{"}}),
                ("b", doc! {"$set": {"version": "presto"}}),
                ("d", doc! {"$set": {"json": 7}}),
            ] {
                let filter = doc! {"_id": {"$regex": format!("/{name}$")}};
                let edited = registers.update_one(filter, edit).await?;
                assert_eq!(edited.modified_count, 1);
            }
            Ok(())
        })
        .await;
    for limit in 0..4 {
        let fine = &[key("c"), key("e")][..limit.min(2)];
        let due = store.due_registers(at(9), None, limit).await.expect("an answer");
        assert_eq!(due.into_iter().map(|register| register.key).collect::<Vec<_>>(), fine);
        let listed = store.list_registers(Space::Schedule, None, None, limit).await.expect("an answer");
        assert_eq!(listed.into_iter().map(|register| register.key).collect::<Vec<_>>(), fine);
    }
    // Asked for by itself, it tells what is wrong.
    let error = store.registers(&[key("a")]).await.expect_err("nobody can read it");
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
}
