//! Leases: what they allow, how they are kept, and how they end.

use std::time::Duration;

use gristmill_common::{
    LeaseId, Part, State,
    job::{Job, Limits},
};

use super::{Backend, at, claim_of, get, insert, job, succeed, text};
use crate::{Renewal, Store};

async fn claimed(store: &std::sync::Arc<dyn Store>) -> Job {
    let new = job(at(0));
    let key = new.job.key.clone();
    insert(store, [new]).await;
    store.claim(claim_of(&[key], at(1))).await.expect("an answer").remove(0).job
}

/// After a rescue the old lease settles nothing: neither while the job waits nor while somebody else runs it.
pub async fn a_lost_lease_cannot_settle(backend: &dyn Backend) {
    let store = backend.open().await;
    let mine = claimed(&store).await;
    let rescue = mine.rescue(at(20_000), &Limits::default()).expect("a running job may be rescued");
    let rescued = store.apply(vec![rescue.clone()]).await.expect("a change").remove(0).expect("its guard holds");
    assert_eq!((rescued.state, rescued.lease, rescued.rescues), (State::Queued, None, 1));
    assert_eq!(store.apply(vec![rescue]).await.expect("an answer"), [None], "a rescue happens once");

    let late = succeed(&mine, at(20_001));
    assert_eq!(store.apply(vec![late.clone()]).await.expect("an answer"), [None]);
    let theirs =
        store.claim(claim_of(std::slice::from_ref(&mine.key), at(20_002))).await.expect("an answer").remove(0).job;
    assert_eq!(store.apply(vec![late]).await.expect("an answer"), [None]);
    assert_eq!(get(&store, &mine.key).await, theirs);
    assert_eq!(store.body(&mine.key, Part::Result).await.expect("an answer"), None);
    let settled = store.apply(vec![succeed(&theirs, at(20_003))]).await.expect("a change").remove(0);
    assert_eq!(settled.expect("its guard holds").state, State::Succeeded);
}

/// A settle that is made twice, because its first answer was lost, is found to have been applied.
pub async fn a_settle_is_known_by_its_lease(backend: &dyn Backend) {
    let store = backend.open().await;
    let mine = claimed(&store).await;
    let settle = mine.succeed(text("{\"words\":3}"), at(2), &Limits::default()).expect("it runs");
    let settled = store.apply(vec![settle.clone()]).await.expect("a change").remove(0).expect("its guard holds");
    assert_eq!(store.apply(vec![settle]).await.expect("an answer"), [None]);
    let found = store.get(&mine.key).await.expect("an answer").expect("it is there");
    assert_eq!(found.job, settled);
    assert_eq!((found.job.settled_by, found.job.lease), (mine.lease, None));
    assert_eq!(found.result, Some(text("{\"words\":3}")));
}

/// A heartbeat moves the lease's end, and tells of each lease whether it holds and whether to stop.
pub async fn a_renewal_tells_how_the_lease_stands(backend: &dyn Backend) {
    let store = backend.open().await;
    let (kept, stopping, settled) = (claimed(&store).await, claimed(&store).await, claimed(&store).await);
    let stop = stopping.cancel(at(2), &Limits::default()).expect("a running job may be asked to stop");
    store.apply(vec![stop, succeed(&settled, at(2))]).await.expect("changes");

    let lease = |job: &Job| (job.key.clone(), job.lease.expect("a lease"));
    let nobodys = (job(at(0)).job.key, LeaseId::fresh());
    let held = [lease(&settled), lease(&kept), nobodys, lease(&stopping), (kept.key.clone(), LeaseId::fresh())];
    let renewals = store.renew(&held, at(30_000)).await.expect("an answer");
    use Renewal::{Held, Lost, StopRequested};
    assert_eq!(renewals, [Lost, Held, Lost, StopRequested, Lost]);
    assert_eq!(get(&store, &kept.key).await.wake_at, at(30_000));
    assert_eq!(get(&store, &stopping.key).await.wake_at, at(30_000));
    assert_ne!(get(&store, &settled.key).await.wake_at, at(30_000));
    let overtaken = store.renew(&[lease(&kept)], at(20_000)).await.expect("an answer");
    assert_eq!(overtaken, [Held]);
    assert_eq!(get(&store, &kept.key).await.wake_at, at(30_000), "a late heartbeat moves no end back");
}

/// A rescue that was decided before a heartbeat finds another lease end and does nothing.
pub async fn a_heartbeat_saves_a_lease_from_its_rescue(backend: &dyn Backend) {
    let store = backend.open().await;
    let mine = claimed(&store).await;
    let rescue = mine.rescue(mine.wake_at, &Limits::default()).expect("it runs");
    let until = mine.wake_at + Duration::from_secs(10);
    store.renew(&[(mine.key.clone(), mine.lease.expect("a lease"))], until).await.expect("an answer");
    assert_eq!(store.apply(vec![rescue]).await.expect("an answer"), [None]);
    let settled = store.apply(vec![succeed(&mine, at(11_000))]).await.expect("a change").remove(0);
    assert_eq!(settled.expect("a renewed lease settles").state, State::Succeeded);
}
