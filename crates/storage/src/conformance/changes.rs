//! Changes: each one compare-and-set.

use gristmill_common::{
    LeaseId, State,
    job::{Change, Guard, Limits, Set},
};

use super::{Backend, at, claim_of, get, insert, job};

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
