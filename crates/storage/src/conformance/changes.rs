//! Changes: each one compare-and-set.

use gristmill_common::{
    LeaseId, Part, State,
    job::{Backoff, Change, Failure, Guard, Job, Limits, Set, What},
};

use super::{Backend, at, claim_of, get, insert, job, succeed, text};
use crate::Whom;

/// Whichever part of a guard does not hold, nothing is written.
pub async fn every_part_of_a_guard_is_checked(backend: &dyn Backend) {
    let store = backend.open().await;
    let new = job(at(0));
    let key = new.job.key.clone();
    insert(&store, [new]).await;
    let running = store.claim(claim_of(std::slice::from_ref(&key), at(1))).await.expect("a claim").remove(0).job;
    let holds = Guard {
        state: running.state,
        lease: running.lease,
        claims: Some(running.claims),
        rings: Some(running.rings),
        cancel_requested: Some(running.cancel_requested),
        wake_at: Some(running.wake_at),
    };
    let broken = [
        Guard { state: State::Queued, ..holds.clone() },
        Guard { lease: Some(LeaseId::fresh()), ..holds.clone() },
        Guard { claims: Some(9), ..holds.clone() },
        Guard { rings: Some(9), ..holds.clone() },
        Guard { cancel_requested: Some(true), ..holds.clone() },
        Guard { wake_at: Some(at(2)), ..holds.clone() },
    ];
    let ring =
        |guard| Change { key: key.clone(), guard, sets: vec![Set::Rings(5)], payload: None, result: None, entry: None };
    for guard in broken {
        let answer = store.apply(vec![ring(guard.clone())]).await.expect("an answer");
        assert_eq!(answer, [None], "{guard:?}");
    }
    assert_eq!(get(&store, &key).await, running);
    let changed = store.apply(vec![ring(holds)]).await.expect("a change").remove(0).expect("the guard holds");
    assert_eq!((changed.rings, changed.version), (5, running.version + 1));
    assert_eq!(get(&store, &key).await, changed);
}

/// In one call some changes are made and others are not, each answered in its place; a second change of one job
/// sees the first.
pub async fn each_change_of_a_batch_stands_alone(backend: &dyn Backend) {
    let store = backend.open().await;
    let (first, second) = (job(at(0)), job(at(0)));
    insert(&store, [first.clone(), second.clone()]).await;
    let limits = Limits::default();
    let cancel = |new: &gristmill_common::job::NewJob| new.job.cancel(at(1), &limits).expect("it is queued");
    let changes = vec![
        cancel(&first),
        cancel(&job(at(0))),
        cancel(&first),
        second.job.ring(at(1)).expect("queued"),
        cancel(&second),
    ];
    let answers = store.apply(changes).await.expect("an answer");
    let states: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|job| (job.state, job.version))).collect();
    assert_eq!(
        states,
        [Some((State::Cancelled, 2)), None, None, Some((State::Queued, 2)), Some((State::Cancelled, 3))]
    );
    for answer in [&answers[0], &answers[4]] {
        let job = answer.as_ref().expect("it was changed");
        assert_eq!(get(&store, &job.key).await, *job);
    }
}

/// Of sixteen changes decided from the same reading, one is made.
pub async fn one_of_racing_changes_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    new.job.state = State::Scheduled;
    insert(&store, [new.clone()]).await;
    let changes = (0..16).map(|_| store.apply(vec![new.job.due(at(1)).expect("it is scheduled")]));
    let answers = futures::future::join_all(changes).await;
    let made = answers.into_iter().filter(|answer| answer.as_ref().expect("an answer")[0].is_some()).count();
    assert_eq!(made, 1);
    assert_eq!(get(&store, &new.job.key).await.version, 2);
}

/// A payload that comes with a change takes the place of the one before in the same step, and none does whose change
/// was refused. What the worker gets is the last one.
pub async fn a_payload_is_replaced_with_its_change_or_not_at_all(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut new = job(at(0));
    new.job.state = State::Scheduled;
    (new.payload, new.text) = (text("[\"first\"]"), Some(text("beside it")));
    let key = new.job.key.clone();
    insert(&store, [new.clone()]).await;
    let payload = async || store.body(&key, Part::Payload).await.expect("an answer");

    let first = new.job.put_off(text("[\"second\"]"), at(10)).expect("it is scheduled");
    let put_off = store.apply(vec![first.clone()]).await.expect("a change").remove(0).expect("its guard holds");
    assert_eq!((put_off.wake_at, put_off.version), (at(10), 2));
    assert_eq!(payload().await, Some(text("[\"second\"]")));

    // Its first reading is old by now: as a change, and as one whose answer was lost and that is sent again.
    for stale in [first, new.job.put_off(text("[\"never\"]"), at(20)).expect("it was scheduled")] {
        assert_eq!(store.apply(vec![stale]).await.expect("an answer"), [None]);
    }
    assert_eq!((payload().await, get(&store, &key).await), (Some(text("[\"second\"]")), put_off.clone()));

    // In one call with others: one is refused, one replaces, and each is answered in its place.
    let other = job(at(0));
    insert(&store, [other.clone()]).await;
    let answers = store
        .apply(vec![
            other.job.ring(at(1)).expect("it is queued"),
            new.job.put_off(text("[\"late\"]"), at(30)).expect("it was scheduled"),
            put_off.put_off(text("[\"third\"]"), at(40)).expect("it is scheduled"),
        ])
        .await
        .expect("an answer");
    assert_eq!(answers.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let third = answers[2].as_ref().expect("it was changed");
    store.apply(vec![third.due(at(40)).expect("it is scheduled")]).await.expect("a change");
    let claimed = store.claim(claim_of(std::slice::from_ref(&key), at(41))).await.expect("a claim").remove(0);
    assert_eq!((claimed.payload, claimed.text), (text("[\"third\"]"), Some(text("beside it"))));
    assert_eq!(store.body(&other.job.key, Part::Payload).await.expect("an answer"), Some(other.payload));
}

/// Each claim in a history says which attempt it was, whether the one before was charged or given back.
pub async fn the_history_tells_every_attempt(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut news = [job(at(0)), job(at(0))];
    news.iter_mut().for_each(|new| new.job.backoff = Backoff::None {});
    let keys = news.each_ref().map(|new| new.job.key.clone());
    insert(&store, news).await;
    let limits = Limits::default();
    let failure =
        Failure { code: "boom".into(), message: String::new(), retryable: true, min_delay: std::time::Duration::ZERO };
    let apply = async |change: Change| -> Job {
        store.apply(vec![change]).await.expect("a change").remove(0).expect("its guard holds")
    };

    // Two jobs under one lease, of which one has come further than the other.
    let first = store.claim(claim_of(&keys[..1], at(1))).await.expect("a claim").remove(0).job;
    let failed = apply(first.fail(&failure, at(2), &limits, 0.5).expect("it runs")).await;
    apply(failed.due(at(3)).expect("it is scheduled")).await;
    let batch = crate::Claim { whom: Whom::NeverRescued, ..claim_of(&keys, at(4)) };
    let claimed = store.claim(batch).await.expect("a claim");
    assert_eq!(claimed.iter().map(|claimed| claimed.job.attempt).collect::<Vec<_>>(), [2, 1]);
    apply(claimed[0].job.release(at(5), &limits).expect("it runs")).await;
    apply(claimed[1].job.rescue(at(20_000), &limits).expect("it runs")).await;
    for key in &keys {
        let last = store.claim(claim_of(std::slice::from_ref(key), at(20_001))).await.expect("a claim").remove(0).job;
        apply(succeed(&last, at(20_002))).await;
    }
    let told = async |key| -> Vec<(What, Option<u32>)> {
        get(&store, key).await.history.entries().map(|entry| (entry.what, entry.attempt)).collect()
    };
    assert_eq!(
        told(&keys[0]).await,
        [
            (What::Created, None),
            (What::Claimed, Some(1)),
            (What::RetryScheduled, Some(1)),
            (What::Due, None),
            (What::Claimed, Some(2)),
            (What::Released, None),
            (What::Claimed, Some(2)),
            (What::Succeeded, Some(2)),
        ]
    );
    assert_eq!(
        told(&keys[1]).await,
        [
            (What::Created, None),
            (What::Claimed, Some(1)),
            (What::Rescued, None),
            (What::Claimed, Some(1)),
            (What::Succeeded, Some(1)),
        ]
    );
}
