//! Unique and debounced keys, under races and after crashes, on both stores.

mod support;

use std::{collections::BTreeSet, time::Duration};

use gristmill_common::{
    Body, JobId, Part, State, Tenant,
    http::JobRequest,
    job::{Job, JobKey, While},
    unique::Held,
};
use gristmill_engine::{EngineError, Origin, StoreError};
use gristmill_storage::{Expect, RegisterKey, Space, Swap};
use gristmill_testkit::{World, eventually};
use serde_json::{Value, json};
use support::{Rig, with};
use tokio::task::JoinSet;

/// So many submit at once.
const CROWD: usize = 64;

fn sleep(ms: u64, gates: Value) -> JobRequest {
    with("sleep", json!({ "ms": ms }), gates)
}

fn unique(key: &str) -> JobRequest {
    sleep(0, json!({"unique": {"key": key}}))
}

async fn try_to_submit(rig: &Rig, request: JobRequest) -> Result<Job, EngineError> {
    rig.engine.submit(Origin::default(), request).await
}

#[track_caller]
fn holder(outcome: Result<Job, EngineError>) -> JobId {
    match outcome {
        Err(EngineError::UniqueConflict(Some(holder))) => holder,
        other => panic!("no conflict: {other:?}"),
    }
}

fn register(name: &str) -> RegisterKey {
    RegisterKey { space: Space::Unique, tenant: Tenant::default(), name: name.into() }
}

/// A submitter wrote a job's id into the key so long ago, and died before it inserted the job.
async fn abandon(rig: &Rig, key: &str, ago: Duration) -> JobId {
    let (id, at) = (JobId::fresh(), rig.clock.now() - ago);
    let held = Held::by(id, While::Active, at);
    let to = Some((serde_json::to_value(held).expect("json"), Some(held.check_at())));
    let swap = Swap { key: register(key), expect: Expect::Absent, to };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
    id
}

async fn of_many_at_once_one_gets_the_key(rig: &Rig) {
    for round in 0..3 {
        let mut crowd = JoinSet::new();
        for place in 0..CROWD {
            let engine = rig.engine.clone();
            // Every other one is content with the job that is there.
            let on_conflict = if place % 2 == 0 { "reject" } else { "return_existing" };
            let gates = json!({"unique": {"key": format!("crowd {round}/ß"), "on_conflict": on_conflict}});
            crowd.spawn(async move { engine.submit(Origin::default(), sleep(0, gates)).await });
        }
        let mut ids = BTreeSet::new();
        for outcome in crowd.join_all().await {
            ids.insert(match outcome {
                Ok(job) => job.key.id,
                Err(EngineError::UniqueConflict(Some(holder))) => holder,
                Err(error) => panic!("{error}"),
            });
        }
        assert_eq!(ids.len(), 1, "one job, and everybody is told of it: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_gets_the_key_on_sqlite() {
    of_many_at_once_one_gets_the_key(&Rig::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_gets_the_key_on_mongodb() {
    let world = World::new().await.expect("a world");
    of_many_at_once_one_gets_the_key(&Rig::in_world(&world).await).await;
}

#[tokio::test]
async fn a_key_is_held_as_long_as_its_job_says() {
    let rig = Rig::new().await;
    let held = |held: Value| sleep(0, json!({"unique": {"key": format!("{held}"), "while": held}}));
    let queued = rig.submit(held(json!("queued"))).await;
    let active = rig.submit(held(json!("active"))).await;
    let timed = rig.submit(held(json!({"for_ms": 60_000}))).await;
    assert_eq!(holder(try_to_submit(&rig, held(json!("queued"))).await), queued.id);
    assert_eq!(holder(try_to_submit(&rig, held(json!("active"))).await), active.id);
    for key in [&queued, &active] {
        rig.claim_and_die(key).await;
    }
    let next = rig.submit(held(json!("queued"))).await;
    assert_eq!(holder(try_to_submit(&rig, held(json!("queued"))).await), next.id);
    assert_eq!(holder(try_to_submit(&rig, held(json!("active"))).await), active.id);
    rig.engine.cancel(&timed).await.expect("cancelled");
    assert_eq!(holder(try_to_submit(&rig, held(json!({"for_ms": 60_000}))).await), timed.id);
    rig.clock.shift(60_001);
    assert_ne!(rig.submit(held(json!({"for_ms": 60_000}))).await.id, timed.id);
}

#[tokio::test]
async fn a_job_that_is_tried_again_or_retried_by_hand_asks_for_no_key() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let gates = json!({"unique": {"key": "a"}, "max_attempts": 2, "backoff": {"kind": "none"}});
    let key = rig.submit(with("fail", json!({"message": "no", "until_attempt": 4}), gates)).await;
    assert_eq!(rig.reaches(&key, State::Failed).await.attempt, 2);
    let other = rig.submit(sleep(0, json!({"unique": {"key": "a"}, "delay_ms": 3_600_000}))).await;
    // The key is another's by now: the first one runs all the same.
    rig.engine.retry(&key).await.expect("runs again");
    assert_eq!(rig.reaches(&key, State::Succeeded).await.attempt, 4);
    assert_eq!(holder(try_to_submit(&rig, unique("a")).await), other.id);
}

#[tokio::test]
async fn an_idempotency_key_comes_before_the_unique_one() {
    let rig = Rig::new().await;
    let origin = || Origin { idempotency_key: Some("order-1".into()), ..Origin::default() };
    let first = rig.engine.submit(origin(), unique("a")).await.expect("accepted");
    let again = rig.engine.submit(origin(), unique("a")).await.expect("the same");
    assert_eq!(first.key, again.key);
    let another = rig.engine.submit(origin(), unique("b")).await;
    assert!(matches!(another, Err(EngineError::IdempotencyKeyReused)), "{another:?}");
    assert!(rig.store.registers(&[register("b")]).await.expect("registers")[0].is_none(), "no key was touched");
    rig.engine.cancel(&first.key).await.expect("cancelled");
    let next = rig.submit(unique("a")).await;
    assert_eq!(rig.engine.submit(origin(), unique("a")).await.expect("the same").key, first.key);
    assert_ne!(next, first.key);
}

#[tokio::test]
async fn of_a_batch_the_first_gets_the_key() {
    let rig = Rig::new().await;
    let held = rig.submit(unique("taken")).await;
    let existing = |key: &str| sleep(0, json!({"unique": {"key": key, "on_conflict": "return_existing"}}));
    let requests = [
        unique("a"),
        unique("a"),
        existing("a"),
        unique("b"),
        unique("taken"),
        existing("taken"),
        sleep(0, json!({})),
        sleep(0, json!({})),
    ];
    let batch = (0..).zip(requests).collect();
    let mut outcomes = rig.engine.submit_batch(Origin::default(), batch).await.into_iter();
    let mut next = || outcomes.next().expect("an outcome");
    let first = next().expect("accepted").key.id;
    assert_eq!(holder(next()), first);
    assert_eq!(next().expect("the first").key.id, first);
    assert_ne!(next().expect("accepted").key.id, first);
    assert_eq!(holder(next()), held.id);
    assert_eq!(next().expect("the holder").key.id, held.id);
    assert_ne!(next().expect("accepted").key.id, next().expect("accepted").key.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_submitter_died_is_taken_over_and_its_job_comes_no_more() {
    let rig = Rig::new().await;
    let lost = abandon(&rig, "a", Duration::from_secs(11)).await;
    let next = rig.submit(unique("a")).await;
    let stone = rig.job(&JobKey { tenant: Tenant::default(), id: lost }).await;
    assert!(stone.is_abandoned(), "{stone:?}");
    assert_eq!(holder(try_to_submit(&rig, unique("a")).await), next.id);
    // What never came can't be run.
    let retried = rig.engine.retry(&stone.key).await;
    assert!(matches!(retried, Err(EngineError::Conflict { action: "retried", .. })), "{retried:?}");
    rig.engine.delete(&stone.key).await.expect("gone");

    // Just now somebody may be about to insert the job: he is waited for, and not overtaken.
    let coming = abandon(&rig, "b", Duration::ZERO).await;
    assert_eq!(holder(try_to_submit(&rig, unique("b")).await), coming);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submitter_that_was_too_slow_is_refused() {
    let rig = Rig::new().await;
    let origin = || Origin { idempotency_key: Some("slow".into()), ..Origin::default() };
    let id = JobId::from_idempotency_key("default", "slow", None);
    let held = Held::by(id, While::Active, rig.clock.now() - Duration::from_secs(20));
    let to = Some((serde_json::to_value(held).expect("json"), None));
    let swap = Swap { key: register("a"), expect: Expect::Absent, to };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
    let quick = rig.submit(unique("a")).await;
    let slow = rig.engine.submit(origin(), unique("a")).await;
    assert!(matches!(slow, Err(EngineError::Overtaken { gate: "unique" })), "{slow:?}");
    assert_eq!(holder(try_to_submit(&rig, unique("a")).await), quick.id);
}

#[tokio::test]
async fn a_job_that_is_deleted_frees_its_key_at_once() {
    let rig = Rig::new().await;
    let request = || sleep(0, json!({"unique": {"key": "a", "while": {"for_ms": 3_600_000}}}));
    let first = rig.submit(request()).await;
    rig.engine.cancel(&first).await.expect("cancelled");
    assert_eq!(holder(try_to_submit(&rig, request()).await), first.id);
    rig.engine.delete(&first).await.expect("gone");
    assert!(rig.store.registers(&[register("a")]).await.expect("registers")[0].is_none());
    let second = rig.submit(request()).await;
    // A key that is another's by now stays his.
    assert_eq!(holder(try_to_submit(&rig, request()).await), second.id);
}

#[tokio::test]
async fn a_key_that_a_newer_build_has_written_counts_as_held() {
    let rig = Rig::new().await;
    let to = Some((json!({"v": 1, "newer": true}), None));
    let swap = Swap { key: register("a"), expect: Expect::Absent, to };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
    let outcome = try_to_submit(&rig, unique("a")).await;
    assert!(matches!(outcome, Err(EngineError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
    // That is nothing to those who ask for other keys.
    let batch = vec![(0, unique("a")), (1, unique("b")), (2, sleep(0, json!({})))];
    let outcomes = rig.engine.submit_batch(Origin::default(), batch).await;
    let taken: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [false, true, true], "{outcomes:?}");
}

fn debounced(key: &str, ms: u64, wait_ms: u64, max_wait_ms: u64) -> JobRequest {
    sleep(ms, json!({"debounce": {"key": key, "wait_ms": wait_ms, "max_wait_ms": max_wait_ms}}))
}

async fn payload(rig: &Rig, key: &JobKey) -> Value {
    match rig.store.body(key, Part::Payload).await.expect("read").expect("a payload") {
        Body::Inline(bytes) => serde_json::from_slice(&bytes).expect("json"),
        blob => panic!("not inline: {blob:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_submission_puts_the_job_off() {
    let rig = &Rig::new().await;
    let first = try_to_submit(rig, debounced("a", 1, 60_000, 100_000)).await.expect("accepted");
    assert_eq!((first.state, first.wake_at), (State::Scheduled, first.created_at + Duration::from_secs(60)));
    rig.clock.shift(30_000);
    let second = try_to_submit(rig, debounced("a", 2, 60_000, 100_000)).await.expect("put off");
    assert_eq!(second.key, first.key);
    assert!(second.wake_at > first.wake_at);
    assert_eq!(payload(rig, &first.key).await, json!({"ms": 2}));
    rig.clock.shift(59_000);
    let third = try_to_submit(rig, debounced("a", 3, 60_000, 100_000)).await.expect("put off");
    assert_eq!((third.key.clone(), third.wake_at), (first.key.clone(), first.created_at + Duration::from_secs(100)));
    let other = try_to_submit(rig, debounced("b", 4, 60_000, 100_000)).await.expect("accepted");
    assert_ne!(other.key, first.key);

    rig.work();
    rig.schedule();
    rig.clock.shift(20_000);
    rig.reaches(&first.key, State::Succeeded).await;
    assert_eq!(payload(rig, &first.key).await, json!({"ms": 3}), "the last one counts");
    let next = try_to_submit(rig, debounced("a", 5, 60_000, 100_000)).await.expect("accepted");
    assert_ne!(next.key, first.key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_later_submissions_only_the_payload_counts() {
    let rig = &Rig::new().await;
    let first = try_to_submit(rig, debounced("a", 1, 60_000, 100_000)).await.expect("accepted");
    let second = try_to_submit(rig, debounced("a", 2, 1, 1)).await.expect("put off");
    assert_eq!(second.key, first.key);
    assert!(second.wake_at >= first.wake_at, "it waits as long as the first one said");
    assert_eq!(payload(rig, &first.key).await, json!({"ms": 2}));

    // One that has had its wait stands at a gate: it takes the payload, and keeps its place.
    let found = rig.store.get(&first.key).await.expect("read").expect("there").job;
    rig.clock.shift(60_000);
    let now = rig.clock.now();
    let parked = found.due(now).expect("it is due");
    let queued = rig.store.apply(vec![parked]).await.expect("written").pop().flatten().expect("changed");
    let change = queued.park(now, now + Duration::from_secs(5)).expect("it may be parked");
    let parked = rig.store.apply(vec![change]).await.expect("written").pop().flatten().expect("changed");
    let third = try_to_submit(rig, debounced("a", 3, 60_000, 100_000)).await.expect("taken");
    assert_eq!((&third.key, third.wake_at, third.is_parked()), (&parked.key, parked.wake_at, true));
    assert_eq!(payload(rig, &first.key).await, json!({"ms": 3}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debounced_submission_that_was_overtaken_is_told_of_its_own_key() {
    let rig = Rig::new().await;
    let origin = || Origin { idempotency_key: Some("slow".into()), ..Origin::default() };
    let key = JobKey { tenant: Tenant::default(), id: JobId::from_idempotency_key("default", "slow", None) };
    let stone = Job::abandoned(key, "sleep".parse().expect("a name"), rig.clock.now());
    rig.store.insert(vec![stone]).await.expect("stored");
    let slow = rig.engine.submit(origin(), debounced("a", 1, 1_000, 1_000)).await;
    assert!(matches!(slow, Err(EngineError::Overtaken { gate: "debounce" })), "{slow:?}");
}

async fn many_submissions_at_once_of_a_debounced_key_make_one_job(rig: &Rig) {
    let mut crowd = JoinSet::new();
    for place in 0..16 {
        let engine = rig.engine.clone();
        crowd.spawn(async move {
            // On a slow machine some wait too long for their turn: they are told to send it again.
            eventually("it is taken", || async {
                match engine.submit(Origin::default(), debounced("a", place, 60_000, 600_000)).await {
                    Ok(job) => Some(job.key),
                    Err(EngineError::Store(StoreError::Overloaded)) => None,
                    Err(error) => panic!("{error}"),
                }
            })
            .await
        });
    }
    let keys: BTreeSet<JobKey> = crowd.join_all().await.into_iter().collect();
    assert_eq!(keys.len(), 1);
    let last = try_to_submit(rig, debounced("a", 99, 60_000, 600_000)).await.expect("put off");
    assert!(keys.contains(&last.key));
    assert_eq!(payload(rig, &last.key).await, json!({"ms": 99}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submissions_at_once_of_a_debounced_key_make_one_job_on_sqlite() {
    many_submissions_at_once_of_a_debounced_key_make_one_job(&Rig::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submissions_at_once_of_a_debounced_key_make_one_job_on_mongodb() {
    let world = World::new().await.expect("a world");
    many_submissions_at_once_of_a_debounced_key_make_one_job(&Rig::in_world(&world).await).await;
}

#[tokio::test]
async fn of_a_batch_the_last_payload_of_a_debounced_key_counts() {
    let rig = Rig::new().await;
    let fail = with(
        "fail",
        json!({"message": "x"}),
        json!({"debounce": {"key": "a", "wait_ms": 60_000, "max_wait_ms": 60_000}}),
    );
    let requests = [1, 2, 3].map(|ms| debounced("a", ms, 60_000, 60_000));
    let batch = (0..).zip(requests.into_iter().chain([fail])).collect();
    let outcomes = rig.engine.submit_batch(Origin::default(), batch).await;
    let keys: BTreeSet<&JobKey> = outcomes[..3].iter().map(|job| &job.as_ref().expect("taken").key).collect();
    let [key] = keys.into_iter().collect::<Vec<_>>()[..] else { panic!("one job: {outcomes:?}") };
    assert_eq!(payload(&rig, key).await, json!({"ms": 3}));
    // A payload of one type is none of another.
    assert!(matches!(&outcomes[3], Err(EngineError::Invalid(errors)) if errors[0].pointer == "/debounce/key"));
}

#[tokio::test]
async fn what_cannot_be_debounced_is_refused_by_name() {
    let rig = Rig::new().await;
    let debounce = json!({"key": "a", "wait_ms": 1_000, "max_wait_ms": 1_000});
    for (more, pointer) in [
        (json!({"unique": {"key": "a"}}), "/debounce"),
        (json!({"delay_ms": 5}), "/delay_ms"),
        (json!({"run_at": rig.clock.now()}), "/run_at"),
    ] {
        let mut gates = more;
        gates["debounce"] = debounce.clone();
        let outcome = try_to_submit(&rig, sleep(0, gates)).await;
        let Err(EngineError::Invalid(errors)) = outcome else { panic!("{outcome:?}") };
        assert!(errors.iter().any(|error| error.pointer == pointer), "{errors:?}");
    }
    let large = with("word_count", json!({"text": "x".repeat(70_000)}), json!({ "debounce": debounce }));
    let outcome = try_to_submit(&rig, large).await;
    assert!(matches!(outcome, Err(EngineError::Invalid(errors)) if errors[0].pointer == "/payload"));
}
