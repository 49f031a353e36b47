//! What is left of slots, keys and rates when nobody gives it back, on both stores.

mod support;

use std::time::{Duration, Instant};

use gristmill_common::{
    JobId, LeaseId, State, Tenant, WorkerId,
    job::{JobKey, While},
    limits::{Rate, Slot, Slots},
    unique::{Debounced, Held},
};
use gristmill_engine::{Lead, Scheduler, SchedulerConfig};
use gristmill_storage::{Claim, Expect, RegisterKey, Space, Swap, Whom};
use gristmill_testkit::{World, eventually};
use serde::Serialize;
use serde_json::{Value, json};
use support::{Rig, request, with};

const LEASE: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(space: Space, name: &str) -> RegisterKey {
    RegisterKey { space, tenant: Tenant::default(), name: name.into() }
}

async fn read(rig: &Rig, key: &RegisterKey) -> Option<Value> {
    let mut read = rig.store.registers(std::slice::from_ref(key)).await.expect("an answer");
    read.pop().flatten().map(|register| register.value)
}

async fn version(rig: &Rig, key: &RegisterKey) -> Option<u64> {
    let mut read = rig.store.registers(std::slice::from_ref(key)).await.expect("an answer");
    read.pop().flatten().map(|register| register.version)
}

/// Writes a register that is due so long from now.
async fn write(rig: &Rig, key: &RegisterKey, value: &impl Serialize, due: Duration) {
    let to = Some((serde_json::to_value(value).expect("json"), Some(rig.clock.now() + due)));
    let swap = Swap { key: key.clone(), expect: Expect::Absent, to };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
}

/// A job whose gate was shut; it would ask again by itself in an hour.
async fn parked(rig: &Rig) -> JobKey {
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let now = rig.clock.now();
    let park = rig.job(&key).await.park(now, now + Duration::from_secs(3_600)).expect("it is queued");
    assert!(rig.store.apply(vec![park]).await.expect("an answer")[0].is_some());
    key
}

/// A job that runs under a lease, until so long from now.
async fn running(rig: &Rig, until: Duration) -> (JobKey, LeaseId) {
    let key = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let (now, lease) = (rig.clock.now(), LeaseId::fresh());
    let (keys, worker) = (vec![key.clone()], WorkerId::fresh());
    let claim = Claim { keys, lease, worker, now, until: now + until, whom: Whom::Any };
    assert_eq!(rig.store.claim(claim).await.expect("an answer").len(), 1);
    (key, lease)
}

async fn slots_that_nobody_gives_back_are_freed(rig: Rig) {
    let end = rig.clock.now() + LEASE;
    let (leaked, held) = (key(Space::Slots, "leaked"), key(Space::Slots, "held"));
    // A worker died between the slot and the claim. One waits for its slot, and so does one that was cancelled.
    let (waits, cancelled, waits_on) = (parked(&rig).await, parked(&rig).await, parked(&rig).await);
    rig.engine.cancel(&cancelled).await.expect("cancelled");
    let mut slots = Slots::default();
    let gone = running(&rig, Duration::from_secs(3_600)).await.0;
    assert_eq!(slots.take(gone.id, LeaseId::fresh(), end, 2), Slot::Granted);
    assert_eq!(slots.take(JobId::fresh(), LeaseId::fresh(), end, 2), Slot::Granted);
    assert_eq!(slots.take(cancelled.id, LeaseId::fresh(), end, 2), Slot::Refused);
    assert_eq!(slots.take(waits.id, LeaseId::fresh(), end, 2), Slot::Refused);
    write(&rig, &leaked, &slots, LEASE + Duration::from_secs(2)).await;
    // Another runs under its lease, which was renewed since.
    let (runs, lease) = running(&rig, Duration::from_secs(3_600)).await;
    let mut good = Slots::default();
    assert_eq!(good.take(runs.id, lease, end, 1), Slot::Granted);
    assert_eq!(good.take(waits_on.id, LeaseId::fresh(), end, 1), Slot::Refused);
    write(&rig, &held, &good, LEASE + Duration::from_secs(2)).await;

    rig.schedule();
    rig.clock.shift(12_001);
    rig.reaches(&waits, State::Queued).await;
    assert_eq!(rig.job(&cancelled).await.state, State::Cancelled);
    eventually("nothing is left", || async { read(&rig, &leaked).await.is_none().then_some(()) }).await;
    let kept = eventually("it was looked at", || async {
        let value = read(&rig, &held).await.expect("it is held");
        serde_json::from_value::<Slots>(value).ok().filter(|slots| slots.holders()[0].until > end)
    })
    .await;
    assert_eq!((kept.held(), kept.waiting().collect::<Vec<_>>()), (1, vec![waits_on.id]));
    assert_eq!(rig.job(&waits_on).await.state, State::Scheduled);
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_nobody_gives_back_are_freed_on_sqlite() {
    slots_that_nobody_gives_back_are_freed(Rig::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_nobody_gives_back_are_freed_on_mongodb() {
    let world = World::new().await.expect("a world");
    slots_that_nobody_gives_back_are_freed(Rig::in_world(&world).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_claim_is_under_way_stands_for_a_lease_whatever_the_clocks_say() {
    const SHORT: Duration = Duration::from_secs(3);
    let rig = Rig::new().await;
    let comes = rig.submit(request("sleep", json!({"ms": 0}))).await;
    let (lease, end) = (LeaseId::fresh(), rig.clock.now() + SHORT);
    let [claimed, abandoned] = ["claimed", "abandoned"].map(|name| key(Space::Slots, name));
    let began = Instant::now();
    for (key, job) in [(&claimed, comes.id), (&abandoned, JobId::fresh())] {
        let mut slots = Slots::default();
        assert_eq!(slots.take(job, lease, end, 1), Slot::Granted);
        write(&rig, key, &slots, SHORT + Duration::from_secs(2)).await;
    }
    let first = version(&rig, &claimed).await;

    // The leader's clock is a minute ahead of that of the worker, which will claim one of the jobs and not the other.
    rig.clock.shift(60_000);
    let config =
        SchedulerConfig { tick: Duration::from_millis(20), lease: SHORT, lead: Lead::Always, ..Default::default() };
    let scheduler = Scheduler::new(rig.engine.clone(), config);
    tokio::spawn(async move { scheduler.run().await });
    eventually("it was looked at", || async { (version(&rig, &claimed).await != first).then_some(()) }).await;
    let (keys, worker) = (vec![comes.clone()], WorkerId::fresh());
    let until = rig.clock.now() + Duration::from_secs(3_600);
    let claim = Claim { keys, lease, worker, now: rig.clock.now(), until, whom: Whom::Any };
    assert_eq!(rig.store.claim(claim).await.expect("an answer").len(), 1);
    eventually("nothing is left", || async { read(&rig, &abandoned).await.is_none().then_some(()) }).await;
    assert!(began.elapsed() >= SHORT, "the other claim might still have come after {:?}", began.elapsed());
    assert!(read(&rig, &claimed).await.is_some(), "its job runs");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_rates_that_nobody_needs_are_dropped() {
    let rig = Rig::new().await;
    let now = rig.clock.now();
    let waits = rig.submit(with("sleep", json!({"ms": 0}), json!({"delay_ms": 30 * DAY.as_millis() as u64}))).await;
    let ended = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.engine.cancel(&ended).await.expect("cancelled");
    let unique = |name: &str| key(Space::Unique, name);
    write(&rig, &unique("ended"), &Held::by(ended.id, While::Active, now), DAY).await;
    write(&rig, &unique("gone"), &Held::by(JobId::fresh(), While::Active, now), DAY).await;
    write(&rig, &unique("waits"), &Held::by(waits.id, While::Active, now), DAY).await;
    write(&rig, &key(Space::Debounce, "gone"), &Debounced::by(JobId::fresh(), now), DAY).await;
    write(&rig, &key(Space::Debounce, "waits"), &Debounced::by(waits.id, now), DAY).await;
    let (mut idle, mut used) = (Rate::default(), Rate::default());
    assert_eq!(idle.take(1, 1, 1_000, now).granted, 1);
    assert_eq!(used.take(3, 3, 6 * DAY.as_millis() as u64, now).granted, 3);
    write(&rig, &key(Space::Rate, "idle"), &idle, DAY).await;
    write(&rig, &key(Space::QueueRate, "idle"), &idle, DAY).await;
    write(&rig, &key(Space::Rate, "used"), &used, DAY).await;
    write(&rig, &key(Space::Rate, "newer"), &json!({"v": 2}), Duration::ZERO).await;

    rig.schedule();
    rig.clock.shift(DAY.as_millis() as i64 + 1_000);
    for gone in [
        unique("ended"),
        unique("gone"),
        key(Space::Debounce, "gone"),
        key(Space::Rate, "idle"),
        key(Space::QueueRate, "idle"),
    ] {
        eventually("dropped", || async { read(&rig, &gone).await.is_none().then_some(()) }).await;
    }
    let not_due = || async { rig.store.due_registers(rig.clock.now(), None, 10).await.expect("an answer").len() };
    eventually("the others are seen to", || async { (not_due().await == 1).then_some(()) }).await;
    for kept in [unique("waits"), key(Space::Debounce, "waits"), key(Space::Rate, "used"), key(Space::Rate, "newer")] {
        assert!(read(&rig, &kept).await.is_some(), "{kept:?} was dropped");
    }
    rig.shutdown.cancel();
}
