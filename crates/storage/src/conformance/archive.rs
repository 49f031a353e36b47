//! Moving jobs with all that belongs to them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gristmill_common::{
    BlobId, BlobRef, Body, JobId, LeaseId, Part, State, Tenant, WorkerId,
    http::LogLine,
    job::{Concurrency, Gates, HistoryEntry, Job, JobKey, Limits, What},
};

use super::{Backend, at, claim_of, get, insert, job, job_of, succeed, text, walk::random_event};
use crate::{BlobStore, DueScan, Removal, Restored, Store, Whole};

/// Every job of every tenant is met, once, however long the pages are.
pub async fn a_walk_meets_every_job_once(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.walk(None, 5).await.expect("a page"), []);
    let mut jobs = Vec::new();
    for n in 0..30 {
        let tenant: Tenant = ["a", "b-1", "b.2"][n % 3].parse().expect("a name");
        let mut new = job_of(tenant, at(n as u64));
        if n % 7 == 1 {
            // Another tenant's job of the same id.
            let before: &Job = jobs.last().expect("there is one");
            new.job.key.id = before.key.id;
        }
        jobs.push(new.job.clone());
        insert(&store, [new]).await;
    }
    jobs.sort_by(|one, other| one.key.cmp(&other.key));
    for limit in [1, 7, 1_000] {
        let met: Vec<Job> = everything(&store, limit).await.into_iter().map(|whole| whole.job).collect();
        assert_eq!(met, jobs);
    }
}

/// Jobs in every stage of their lives, with blobs and logs, are restored into an empty store as they were, and found
/// along every index.
pub async fn jobs_move_as_they_are(backend: &dyn Backend) {
    let store = backend.open().await;
    let (blob, bytes) = populate(&store).await;
    let before = everything(&store, 10).await;
    let found_before = found_along_indexes(&store).await;
    for state in State::ALL {
        assert!(before.iter().any(|whole| whole.job.state == state), "no job is {state}");
    }
    erase(&store, &before).await;
    assert_eq!(everything(&store, 10).await, []);

    let owner = before.iter().find(|whole| whole.text == Some(Body::Blob(blob))).expect("the book's job");
    upload(&*store, blob.id, &owner.job.key, bytes.clone()).await;
    for batch in before.chunks(16) {
        let outcomes = store.restore(batch.to_vec()).await.expect("outcomes");
        assert_eq!(outcomes, vec![Restored::Created; batch.len()]);
    }
    assert_eq!(everything(&store, 10).await, before);
    assert_eq!(found_along_indexes(&store).await, found_before);
    assert_eq!(store.read_blob(blob.id, 0).await.expect("an answer"), Some(bytes.clone()));
    // The blob is the job's again: nobody collects it.
    store.collect_blobs(at(1 << 40), at(1 << 40), 10).await.expect("a collection");
    assert_eq!(store.read_blob(blob.id, 0).await.expect("an answer"), Some(bytes));

    let mut keys: Vec<JobKey> = before.iter().rev().map(|whole| whole.job.key.clone()).collect();
    keys.insert(1, job(at(0)).job.key);
    let mut expected: Vec<Option<Whole>> = before.into_iter().rev().map(Some).collect();
    expected.insert(1, None);
    assert_eq!(store.whole(&keys).await.expect("jobs"), expected);
}

/// Restoring a job again, or another one under its key, changes nothing and says so.
pub async fn a_key_that_is_taken_stays_as_it_is(backend: &dyn Backend) {
    let store = backend.open().await;
    let line = |message: &str| LogLine { at: at(1), attempt: 1, message: message.into() };
    let new = job(at(0));
    let one = Whole {
        payload: text("{\"n\":1}"),
        text: Some(text("a text")),
        result: None,
        logs: vec![line("one"), line("two")],
        job: new.job,
    };
    let mut other = one.clone();
    (other.job.state, other.job.version, other.result) = (State::Succeeded, 9, Some(text("null")));
    (other.payload, other.logs) = (text("{}"), vec![line("other"), line("other"), line("third")]);
    let free = Whole { job: job(at(2)).job, logs: Vec::new(), ..one.clone() };
    assert_eq!(
        store.restore(vec![one.clone(), other.clone()]).await.expect("outcomes"),
        [Restored::Created, Restored::Exists]
    );
    let outcomes = store.restore(vec![other, free.clone(), one.clone()]).await.expect("outcomes");
    assert_eq!(outcomes, [Restored::Exists, Restored::Created, Restored::Exists]);
    let keys = [one.job.key.clone(), free.job.key.clone()];
    assert_eq!(store.whole(&keys).await.expect("jobs"), [Some(one), Some(free)]);
    assert_eq!(store.restore(Vec::new()).await.expect("no outcome"), []);
}

/// A restored job goes on: one that waits is claimed, logs after its last line and succeeds; one that ran is rescued.
pub async fn a_restored_job_lives_on(backend: &dyn Backend) {
    let store = backend.open().await;
    let whole = |job: Job| {
        let logs = vec![LogLine { at: at(1), attempt: 1, message: "before".into() }];
        Whole { job, payload: text("{}"), text: None, result: None, logs }
    };
    let waiting = job(at(0)).job;
    let mut running = job(at(0)).job;
    let claim = running.claim(LeaseId::fresh(), WorkerId::fresh(), at(1), at(10_000)).expect("it is queued");
    assert!(claim.apply(&mut running));
    store.restore(vec![whole(waiting.clone()), whole(running.clone())]).await.expect("outcomes");

    let claimed = store.claim(claim_of(std::slice::from_ref(&waiting.key), at(20_000))).await.expect("a claim");
    let line = LogLine { at: at(20_001), attempt: 1, message: "after".into() };
    store.append_logs(vec![(waiting.key.clone(), line.clone())]).await.expect("a line");
    store.apply(vec![succeed(&claimed[0].job, at(20_002))]).await.expect("a change");
    assert_eq!(get(&store, &waiting.key).await.state, State::Succeeded);
    assert_eq!(store.logs(&waiting.key).await.expect("a log").last(), Some(&line));
    assert_eq!(store.logs(&waiting.key).await.expect("a log").len(), 2);

    let scan = DueScan { state: State::Running, lane: None, until: at(20_000), after: None, limit: 5 };
    let due = store.due(&scan).await.expect("a scan");
    assert_eq!(due, [running]);
    let rescue = due[0].rescue(at(20_000), &Limits::default()).expect("it runs");
    let rescued = store.apply(vec![rescue]).await.expect("a change").remove(0).expect("the guard holds");
    assert_eq!((rescued.state, rescued.rescues), (State::Queued, 1));
}

/// Jobs of two tenants after random walks, one with a book as its text; returns the book's blob and bytes.
async fn populate(store: &Arc<dyn Store>) -> (BlobRef, Bytes) {
    let mut random = fastrand::Rng::with_seed(11);
    for n in 0..60 {
        let mut new = job_of(["a", "b"][n % 2].parse().expect("a name"), at(n as u64));
        new.job.tags = vec![format!("tag-{n}")];
        new.job.trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
        new.job.fingerprint = Some([n as u8; 32]);
        if n % 6 == 0 {
            let concurrency = Concurrency { key: format!("key {n}").parse().expect("a key"), limit: 3 };
            new.job.gates = Some(Box::new(Gates { concurrency: Some(concurrency), ..Gates::default() }));
        }
        new.job.deadline = (n % 3 == 0).then(|| at(5_000 + n as u64));
        if n % 5 == 0 {
            // A long history, with a gap.
            (0..90).for_each(|m| new.job.history.push(HistoryEntry::new(at(m), What::Due)));
        }
        if n % 10 == 0 {
            (new.job.state, new.job.run_at) = (State::Scheduled, Some(at(9_000)));
        }
        (new.payload, new.text) = (text(&format!("{{\"n\":{n}}}")), (n % 4 == 0).then(|| text("ein Text: ☂")));
        let key = new.job.key.clone();
        insert(store, [new]).await;
        let lines = (0..n % 4).map(|line| LogLine { at: at(1), attempt: 1, message: format!("line {line}") });
        store.append_logs(lines.map(|line| (key.clone(), line)).collect()).await.expect("a log");
        for step in 0..random.u64(0..9) {
            let job = get(store, &key).await;
            if let Ok(change) = random_event(&mut random, &job, at(100 + step)) {
                store.apply(vec![change]).await.expect("an answer");
            }
        }
    }
    let mut new = job(at(99));
    let bytes = Bytes::from(vec![b'a'; 100_000]);
    let blob = upload(&**store, BlobId::fresh(), &new.job.key, bytes.clone()).await;
    new.text = Some(Body::Blob(blob));
    insert(store, [new]).await;
    (blob, bytes)
}

async fn upload(store: &dyn Store, id: BlobId, owner: &JobKey, bytes: Bytes) -> BlobRef {
    let blobs: &dyn BlobStore = store;
    blobs.begin_blob(id, owner, at(1 << 40)).await.expect("a blob");
    assert!(blobs.append_blob(id, bytes, at(1 << 40)).await.expect("an answer"));
    blobs.commit_blob(id, at(1)).await.expect("an answer").expect("it is there")
}

/// Every job there is, by key.
async fn everything(store: &Arc<dyn Store>, limit: usize) -> Vec<Whole> {
    let mut all: Vec<Whole> = Vec::new();
    loop {
        let page = store.walk(all.last().map(|whole| &whole.job.key), limit).await.expect("a page");
        assert!(page.len() <= limit);
        if page.is_empty() {
            all.sort_by(|one, other| one.job.key.cmp(&other.job.key));
            return all;
        }
        all.extend(page);
    }
}

/// Erases jobs with all that belongs to them.
async fn erase(store: &Arc<dyn Store>, jobs: &[Whole]) {
    let removal =
        |whole: &Whole| Removal { key: whole.job.key.clone(), state: whole.job.state, wake_at: whole.job.wake_at };
    let removals: Vec<Removal> = jobs.iter().map(removal).collect();
    assert!(store.remove(&removals).await.expect("an answer").iter().all(|erased| *erased));
    store.collect_blobs(at(0), at(0), 100).await.expect("a collection");
}

/// The ids that the duties' scans, lanes and the deadlines find, and bodies by their part.
async fn found_along_indexes(store: &Arc<dyn Store>) -> Vec<(String, Vec<JobId>)> {
    let mut found = Vec::new();
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.key.id).collect::<Vec<_>>();
    let until = at(0) + Duration::from_secs(60 * 24 * 60 * 60);
    for lane in store.lanes().await.expect("lanes") {
        let name = lane.to_text();
        let scan = DueScan { state: State::Queued, lane: Some(lane), until, after: None, limit: 1_000 };
        found.push((name, ids(store.due(&scan).await.expect("a scan"))));
    }
    for state in State::ALL.into_iter().filter(|state| *state != State::Queued) {
        let scan = DueScan { state, lane: None, until, after: None, limit: 1_000 };
        found.push((state.to_string(), ids(store.due(&scan).await.expect("a scan"))));
    }
    found.push(("overdue".into(), ids(store.overdue(until, 1_000).await.expect("a scan"))));
    let mut with_results = Vec::new();
    for whole in everything(store, 50).await {
        if store.body(&whole.job.key, Part::Result).await.expect("an answer").is_some() {
            with_results.push(whole.job.key.id);
        }
    }
    found.push(("results".into(), with_results));
    found
}
