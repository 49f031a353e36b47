//! Storing new jobs.

use gristmill_common::{
    LeaseId, State, Tenant, WorkerId,
    http::LogLine,
    job::{
        Backoff, Concurrency, Debounce, Gates, HistoryEntry, JobError, JobKey, Limits, OnConflict, Priority, Progress,
        RateLimit, Unique, What, While,
    },
};

use super::{Backend, at, claim_of, get, insert, job, job_of, succeed, text};
use crate::{Inserted, ListQuery, Order, Removal, Renewal, Store};

/// The others are stored, and the duplicate answers with the job that has the key, as it is now.
pub async fn a_duplicate_in_a_batch_is_returned_and_the_others_are_stored(backend: &dyn Backend) {
    let store = backend.open().await;
    let taken = job(at(0));
    insert(&store, [taken.clone()]).await;
    let claim = claim_of(std::slice::from_ref(&taken.job.key), at(1));
    store.claim(claim).await.expect("the job is claimed");

    let mut again = job(at(2));
    again.job.key = taken.job.key.clone();
    again.payload = text("{\"other\":1}");
    let (first, last) = (job(at(2)), job(at(2)));
    let outcomes = store.insert(vec![first.clone(), again, last.clone(), first.clone()]).await.expect("a batch");
    let [Inserted::Created, Inserted::Exists(found), Inserted::Created, Inserted::Exists(itself)] = &outcomes[..]
    else {
        panic!("not one outcome each, in order: {outcomes:?}");
    };
    assert_eq!((found.key.clone(), found.state, found.created_at), (taken.job.key.clone(), State::Running, at(0)));
    assert_eq!(*itself, first.job);
    for new in [&first, &last] {
        assert_eq!(get(&store, &new.job.key).await, new.job);
    }
    let payload = store.body(&taken.job.key, gristmill_common::Part::Payload).await.expect("a body");
    assert_eq!(payload, Some(text("{}")));
}

/// Sixteen callers insert one key: one of them creates it, and all the others are told of that one's job.
pub async fn a_key_is_taken_by_the_first_of_racing_inserts(backend: &dyn Backend) {
    let store = backend.open().await;
    let key = job(at(0)).job.key;
    let inserts = (0..16).map(|n| {
        let mut new = job(at(n));
        new.job.key = key.clone();
        store.insert(vec![new])
    });
    let outcomes = futures::future::join_all(inserts).await;
    let stored = get(&store, &key).await;
    let mut created = 0;
    for outcome in outcomes {
        match &outcome.expect("an outcome")[..] {
            [Inserted::Created] => created += 1,
            [Inserted::Exists(found)] => assert_eq!(*found, stored),
            other => panic!("not one outcome: {other:?}"),
        }
    }
    assert_eq!(created, 1);
}

/// A job with something in every field is read back as it was stored.
pub async fn every_field_comes_back(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    let full = &mut new.job;
    full.job_type = "word_count".parse().expect("a name");
    full.queue = "books.long-1".parse().expect("a name");
    full.priority = Priority::Low;
    full.state = State::Failed;
    full.wake_at = at(1);
    (full.attempt, full.max_attempts, full.claims, full.rescues, full.rings) = (1, u32::MAX, 3, 4, 5);
    full.lease = Some(LeaseId::fresh());
    full.worker = Some(WorkerId::fresh());
    full.settled_by = Some(LeaseId::fresh());
    full.cancel_requested = true;
    full.backoff = Backoff::Exponential { base_ms: 7, factor: 1.5, cap_ms: 9 };
    full.timeout_ms = 86_400_000;
    full.deadline = Some(at(2));
    full.run_at = Some(at(3));
    full.started_at = Some(at(4));
    full.finished_at = Some(at(5));
    full.failed_at = Some(at(6));
    full.progress = Progress { percent: 42, message: Some("half-way 🚲".into()) };
    full.error = Some(JobError { code: "boom".into(), message: "a \"quoted\"\nline\0".into(), attempt: 1 });
    full.tags = vec!["α".into(), "a,b".into(), String::new()];
    full.trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into());
    full.fingerprint = Some(std::array::from_fn(|n| n as u8));
    full.gates = Some(Box::new(every_gate()));
    full.version = 77;
    full.history.push(HistoryEntry { worker: full.worker, ..HistoryEntry::new(at(4), What::Claimed) });
    full.history.push(HistoryEntry { attempt: Some(2), ..HistoryEntry::new(at(5), What::Claimed) });
    full.history.push(HistoryEntry {
        attempt: Some(u32::MAX),
        code: Some("boom".into()),
        message: Some("a \"quoted\"\nline\0".into()),
        ..HistoryEntry::new(at(6), What::Failed)
    });
    insert(&store, [new.clone()]).await;
    assert_eq!(get(&store, &new.job.key).await, new.job);
}

/// A job's gates stay what they are, whatever happens to the job.
pub async fn gates_stay_with_their_job(backend: &dyn Backend) {
    let store = backend.open().await;
    let (mut gated, plain) = (job(at(0)), job(at(0)));
    gated.job.gates = Some(Box::new(every_gate()));
    let keys = [gated.job.key.clone(), plain.job.key.clone()];
    insert(&store, [gated.clone(), plain]).await;
    let claimed = store.claim(claim_of(&keys, at(1))).await.expect("a claim");
    assert_eq!(claimed.iter().map(|claimed| claimed.job.gates.is_some()).collect::<Vec<_>>(), [true, false]);
    let settles = claimed.iter().map(|claimed| succeed(&claimed.job, at(2))).collect();
    let settled = store.apply(settles).await.expect("changes");
    assert_eq!(settled[0].as_ref().expect("its lease holds").gates, gated.job.gates);
    let whole = store.whole(&keys).await.expect("jobs");
    assert_eq!(whole[0].as_ref().expect("it is there").job.gates, gated.job.gates);
    assert_eq!(whole[1].as_ref().expect("it is there").job.gates, None);
}

fn every_gate() -> Gates {
    let key = |text: &str| text.parse().expect("a key");
    Gates {
        unique: Some(Unique { key: key("a/b ü"), held: While::ForMs(5), on_conflict: OnConflict::ReturnExisting }),
        debounce: Some(Debounce { key: key("$d.e"), wait_ms: 1, max_wait_ms: 604_800_000 }),
        concurrency: Some(Concurrency { key: key(&"c".repeat(256)), limit: 1_000 }),
        rate_limit: Some(RateLimit { key: key("\"r\""), limit: 1, per_ms: 2 }),
    }
}

/// Two tenants may use one id; no call about the one's job shows or touches the other's.
pub async fn tenants_never_see_each_other(backend: &dyn Backend) {
    let store = backend.open().await;
    let [one, other] = ["one", "other"].map(|name| name.parse::<Tenant>().expect("a name"));
    let mine = job_of(one.clone(), at(0));
    let mut theirs = job_of(other.clone(), at(1));
    theirs.job.key.id = mine.job.key.id;
    theirs.payload = text("[]");
    insert(&store, [mine.clone(), theirs.clone()]).await;

    let claimed = store.claim(claim_of(&[theirs.job.key.clone()], at(2))).await.expect("a claim");
    let [claimed] = &claimed[..] else { panic!("the one job is claimed: {claimed:?}") };
    assert_eq!(claimed.payload, text("[]"));
    let lease = claimed.job.lease.expect("a lease");
    let line = |message: &str| LogLine { at: at(3), attempt: 1, message: message.into() };
    let lines = vec![(theirs.job.key.clone(), line("theirs"))];
    store.append_logs(lines).await.expect("a log");

    assert_eq!(get(&store, &mine.job.key).await, mine.job);
    assert!(store.logs(&mine.job.key).await.expect("a log").is_empty());
    assert!(store.held(lease, std::slice::from_ref(&mine.job.key)).await.expect("an answer").is_empty());
    let renewals = store.renew(&[(mine.job.key.clone(), lease)], at(60_000)).await.expect("a renewal");
    assert_eq!(renewals, [Renewal::Lost]);
    let page = listed(&*store, &one).await;
    assert_eq!(page, std::slice::from_ref(&mine.job.key));
    assert_eq!(listed(&*store, &other).await, [theirs.job.key.clone()]);
    assert_eq!(counted(&*store, &one).await, [(State::Queued, 1)]);
    assert_eq!(counted(&*store, &other).await, [(State::Running, 1)]);

    let cancel = mine.job.cancel(at(4), &Limits::default()).expect("queued jobs may be cancelled");
    let cancelled = store.apply(vec![cancel]).await.expect("a change").remove(0).expect("its guard holds");
    let removal = Removal { key: mine.job.key.clone(), state: cancelled.state, wake_at: cancelled.wake_at };
    assert_eq!(store.remove(&[removal]).await.expect("a removal"), [true]);
    assert_eq!(get(&store, &theirs.job.key).await.state, State::Running);
    assert_eq!(store.logs(&theirs.job.key).await.expect("a log"), [line("theirs")]);
    let stranger = JobKey { tenant: "third".parse().expect("a name"), id: mine.job.key.id };
    assert!(store.get(&stranger).await.expect("an answer").is_none());
}

async fn listed(store: &dyn Store, tenant: &Tenant) -> Vec<JobKey> {
    let query = ListQuery {
        tenant: tenant.clone(),
        filter: crate::JobFilter::default(),
        order: Order::NewestFirst,
        after: None,
        limit: 10,
        scan_limit: 100,
    };
    store.list(&query).await.expect("a page").jobs.into_iter().map(|job| job.key).collect()
}

async fn counted(store: &dyn Store, tenant: &Tenant) -> Vec<(State, u64)> {
    let counts = store.counts(Some(tenant)).await.expect("counts");
    counts.into_iter().filter(|cell| cell.count > 0).map(|cell| (cell.state, cell.count)).collect()
}
