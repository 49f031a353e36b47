//! Claiming jobs.

use std::collections::HashSet;

use gristmill_common::{State, job::JobKey};

use super::{Backend, at, claim_of, get, insert, job, succeed, text};
use crate::{Claim, Whom};

/// Of 64 claimers of one job, one gets it, and the job is that one's.
pub async fn one_of_64_racing_claimers_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let new = job(at(0));
    let key = new.job.key.clone();
    insert(&store, [new]).await;
    let claims = (0..64).map(|_| {
        let (store, claim) = (store.clone(), claim_of(std::slice::from_ref(&key), at(1)));
        tokio::spawn(async move { (claim.lease, store.claim(claim).await.expect("an answer")) })
    });
    let mut winners = Vec::new();
    for answer in futures::future::join_all(claims).await {
        let (lease, claimed) = answer.expect("no panic");
        winners.extend(claimed.into_iter().map(|claimed| (lease, claimed.job)));
    }
    let [(lease, won)] = &winners[..] else { panic!("{} winners", winners.len()) };
    let stored = get(&store, &key).await;
    assert_eq!(stored, *won);
    assert_eq!((stored.state, stored.lease, stored.claims, stored.attempt), (State::Running, Some(*lease), 1, 1));
}

/// Batches that overlap get every job between them, and none twice.
pub async fn racing_batches_share_the_jobs(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs: Vec<_> = (0..100).map(|n| job(at(n))).collect();
    let keys: Vec<JobKey> = jobs.iter().map(|new| new.job.key.clone()).collect();
    insert(&store, jobs).await;
    let claims = (0..8).map(|n| {
        let (store, mut keys) = (store.clone(), keys.clone());
        keys.rotate_left(n * 12);
        tokio::spawn(async move { store.claim(claim_of(&keys[..60], at(200))).await.expect("an answer") })
    });
    let mut claimed = HashSet::new();
    for answer in futures::future::join_all(claims).await {
        for got in answer.expect("no panic") {
            assert!(claimed.insert(got.job.key.clone()), "{} was claimed twice", got.job.key.id);
        }
    }
    assert_eq!(claimed.len(), 100);
}

/// A claim leaves alone, and leaves out, what is not queued, what is not there, and what it names twice.
pub async fn only_queued_jobs_are_claimed(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<_> = State::ALL.iter().map(|_| job(at(0))).collect();
    for (new, state) in jobs.iter_mut().zip(State::ALL) {
        new.job.state = state;
    }
    insert(&store, jobs.clone()).await;
    let mut keys: Vec<JobKey> = jobs.iter().map(|new| new.job.key.clone()).collect();
    keys.push(job(at(0)).job.key);
    keys.extend(keys.clone());
    let claimed = store.claim(claim_of(&keys, at(1))).await.expect("an answer");
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].job.key, jobs[1].job.key);
    for new in jobs.iter().filter(|new| new.job.state != State::Queued) {
        assert_eq!(get(&store, &new.job.key).await, new.job);
    }
}

/// A batch leaves a rescued job to a claim that may take any.
pub async fn rescued_jobs_are_claimed_alone(backend: &dyn Backend) {
    let store = backend.open().await;
    let (fresh, mut rescued) = (job(at(0)), job(at(0)));
    rescued.job.rescues = 1;
    let keys = [fresh.job.key.clone(), rescued.job.key.clone()];
    insert(&store, [fresh, rescued]).await;
    let batch = Claim { whom: Whom::NeverRescued, ..claim_of(&keys, at(1)) };
    let claimed = store.claim(batch).await.expect("an answer");
    assert_eq!(claimed.iter().map(|claimed| &claimed.job.key).collect::<Vec<_>>(), [&keys[0]]);
    let claimed = store.claim(claim_of(&keys, at(2))).await.expect("an answer");
    assert_eq!(claimed.iter().map(|claimed| &claimed.job.key).collect::<Vec<_>>(), [&keys[1]]);
}

/// Whoever does not know what its claim got asks by its lease, and is told the same as the claim was.
pub async fn a_claim_whose_answer_was_lost_is_read_back(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<_> = (0..3).map(|n| job(at(n))).collect();
    jobs[0].text = Some(text("once upon a time"));
    let keys: Vec<JobKey> = jobs.iter().map(|new| new.job.key.clone()).collect();
    insert(&store, jobs).await;
    let elsewhere = store.claim(claim_of(&keys[2..], at(5))).await.expect("an answer");
    assert_eq!(elsewhere.len(), 1);

    let claim = claim_of(&keys, at(6));
    let lease = claim.lease;
    let told = store.claim(claim).await.expect("an answer");
    let held = store.held(lease, &keys).await.expect("an answer");
    assert_eq!(held.len(), 2);
    for (told, held) in told.iter().zip(&held) {
        assert_eq!((&told.job, &told.payload, &told.text), (&held.job, &held.payload, &held.text));
    }
    assert_eq!(held[0].text, Some(text("once upon a time")));
    // What was settled since is held no more.
    store.apply(vec![succeed(&held[0].job, at(7))]).await.expect("a change");
    let held = store.held(lease, &keys).await.expect("an answer");
    assert_eq!(held.iter().map(|held| &held.job.key).collect::<Vec<_>>(), [&keys[1]]);
}
