//! Dead letters, run again or erased many at a time.

mod support;

use std::{collections::BTreeSet, time::Duration};

use gristmill_common::{
    State, Tenant, Timestamp,
    http::{JobRequest, ReplayRequest},
    job::{Job, JobKey, What},
};
use gristmill_engine::{EngineError, JobFilter, ListRequest, Order, Origin};
use gristmill_testkit::eventually;
use serde_json::{Value, json};
use support::{Rig, with};

fn which(body: Value) -> ReplayRequest {
    serde_json::from_value(body).expect("a request")
}

fn default() -> Tenant {
    Tenant::default()
}

fn fails(tag: &str, until: Option<u32>) -> JobRequest {
    let payload = json!({"message": "no", "until_attempt": until});
    with("fail", payload, json!({"max_attempts": 1, "backoff": {"kind": "none"}, "tags": [tag]}))
}

async fn dead_letters(rig: &Rig) -> Vec<Job> {
    let filter = JobFilter::default();
    let list = ListRequest { tenant: default(), filter, order: Order::FailedOldestFirst, cursor: None, limit: 500 };
    rig.engine.list(list).await.expect("a list").0
}

/// So many dead letters, of which the first to fail comes first.
async fn die(rig: &Rig, count: u32, until: Option<u32>) -> Vec<JobKey> {
    let batch = (0..count).map(|place| (place, fails("x", until))).collect();
    let submitted = rig.engine.submit_batch(Origin::default(), batch).await;
    assert!(submitted.iter().all(Result::is_ok));
    eventually("all are dead", || async {
        let dead = dead_letters(rig).await;
        (dead.len() == count as usize).then(|| dead.into_iter().map(|job| job.key).collect())
    })
    .await
}

async fn retried(rig: &Rig, keys: &[JobKey]) -> usize {
    let mut count = 0;
    for key in keys {
        let job = rig.job(key).await;
        count += job.history.entries().filter(|entry| entry.what == What::RetriedByHand).count();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_dead_letter_runs_again_once_over_several_calls() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let dead = die(&rig, 250, Some(2)).await;
    let mut replayed = 0;
    for (limit, more) in [(120, true), (120, true), (120, false)] {
        let answer = rig.engine.replay(&default(), which(json!({ "limit": limit }))).await.expect("replayed");
        assert_eq!(answer.more, more, "{answer:?}");
        replayed += answer.replayed;
    }
    assert_eq!(replayed, 250);
    for key in &dead {
        assert_eq!(rig.reaches(key, State::Succeeded).await.attempt, 2);
    }
    assert_eq!(retried(&rig, &dead).await, 250, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_again_is_left_out_by_the_time_that_the_answer_tells() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let dead = die(&rig, 5, None).await;
    let answer = rig.engine.replay(&default(), which(json!({}))).await.expect("replayed");
    assert_eq!((answer.replayed, answer.more), (5, false));
    eventually("all are dead again", || async { (dead_letters(&rig).await.len() == 5).then_some(()) }).await;
    let again = which(json!({ "failed_before": answer.failed_before }));
    assert_eq!(rig.engine.replay(&default(), again).await.expect("replayed").replayed, 0);
    assert_eq!(retried(&rig, &dead).await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_broken_off_is_gone_on_with() {
    let rig = Rig::new().await;
    rig.work();
    rig.schedule();
    let dead = die(&rig, 300, None).await;
    let engine = rig.engine.clone();
    let call = tokio::spawn(async move { engine.replay(&Tenant::default(), which(json!({}))).await });
    eventually("some run again", || async { (retried(&rig, &dead[..1]).await > 0).then_some(()) }).await;
    call.abort();
    let _ = call.await;
    rig.engine.replay(&default(), which(json!({}))).await.expect("replayed");
    let mut retried = BTreeSet::new();
    for key in &dead {
        let job = rig.job(key).await;
        if job.history.entries().any(|entry| entry.what == What::RetriedByHand) {
            retried.insert(key.clone());
        }
    }
    assert_eq!(retried.len(), 300, "none is left out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_choose_and_what_is_discarded_is_gone() {
    let rig = Rig::new().await;
    rig.work();
    let dead = die(&rig, 3, None).await;
    let other = rig.submit(with("panic", json!({}), json!({"max_attempts": 1, "unique": {"key": "a"}}))).await;
    let failed_at = rig.reaches(&other, State::Failed).await.failed_at.expect("it failed");
    let discard = async |body: Value| rig.engine.discard(&default(), which(body)).await.expect("discarded").discarded;
    assert_eq!(discard(json!({"type": "sleep"})).await, 0);
    assert_eq!(discard(json!({"queue": "nowhere"})).await, 0);
    assert_eq!(discard(json!({ "failed_after": failed_at })).await, 0);
    assert_eq!(discard(json!({"failed_before": Timestamp::from_millis(1)})).await, 0);
    // Later than now is asked for in words: what has failed in this very millisecond is else left for the next call.
    let soon = rig.clock.now() + Duration::from_secs(60);
    assert_eq!(discard(json!({"type": "panic", "failed_before": soon})).await, 1);
    assert!(matches!(rig.engine.job(&other).await, Err(EngineError::NoSuchJob)));
    assert_eq!(discard(json!({ "limit": 2, "failed_before": soon })).await, 2);
    // What fails while a call is at it has had its turn, however far ahead its time is.
    let none = rig.engine.replay(&default(), which(json!({"type": "panic", "failed_before": soon}))).await;
    assert!(none.expect("replayed").failed_before <= rig.clock.now() + Duration::from_millis(1));
    assert_eq!(dead_letters(&rig).await.len(), 1);
    assert_eq!(rig.engine.replay(&default(), which(json!({"type": "sleep"}))).await.expect("replayed").replayed, 0);
    for limit in [0, 10_001] {
        let refused = rig.engine.replay(&default(), which(json!({ "limit": limit }))).await;
        assert!(matches!(refused, Err(EngineError::InvalidReplay(errors)) if errors[0].pointer == "/limit"));
    }
    assert_eq!(dead.len(), 3);
}
