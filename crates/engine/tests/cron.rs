//! Schedules fire: each instant once, what was missed as it was asked for, and one beside another or not.

#[path = "support/counted.rs"]
mod counted;
mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use counted::Counted;
use gristmill_common::{
    Body, JobId, LeaseId, State, Tenant, Timestamp,
    job::{Job, JobKey, NewJob, While},
    limits::{Slot, Slots},
    schedule::{ScheduleName, ScheduleRecord},
    unique::Held,
};
use gristmill_engine::{Engine, EngineConfig, Lead, Scheduler, SchedulerConfig, StoreError};
use gristmill_storage::{Expect, Register, RegisterKey, Space, Swap};
use gristmill_testkit::eventually;
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Rig, registry};

const HOUR: i64 = 60 * 60 * 1_000;

fn name(name: &str) -> ScheduleName {
    name.parse().expect("a name")
}

/// A schedule of this name that makes jobs which sleep for so long.
async fn put(rig: &Rig, called: &str, cron: &str, ms: u64, more: Value) {
    let mut body = json!({ "cron": cron, "job": { "type": "sleep", "payload": { "ms": ms } } });
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let request = serde_json::from_value(body).expect("a request");
    rig.engine.put_schedule(&Tenant::default(), &name(called), request).await.expect("a schedule");
}

fn key(called: &str) -> RegisterKey {
    RegisterKey { space: Space::Schedule, tenant: Tenant::default(), name: called.into() }
}

async fn register(rig: &Rig, called: &str) -> Register {
    let read: Result<_, StoreError> = rig.store.registers(&[key(called)]).await;
    read.expect("an answer").pop().flatten().expect("a register")
}

async fn record(rig: &Rig, called: &str) -> ScheduleRecord {
    ScheduleRecord::deserialize(register(rig, called).await.value).expect("a schedule")
}

/// The jobs of a schedule, by their instants.
async fn fired(rig: &Rig, called: &str) -> Vec<Job> {
    let tag = format!("schedule:{called}");
    let mut jobs: Vec<Job> = rig.jobs_of("default").await.into_iter().filter(|job| job.tags.contains(&tag)).collect();
    jobs.sort_by_key(|job| job.run_at);
    jobs
}

/// Waits until the schedule has been seen to up to this moment.
async fn seen_to(rig: &Rig, called: &str, until: Timestamp) {
    eventually("seen to", || async { (record(rig, called).await.fired_through >= until).then_some(()) }).await;
}

/// Half an hour after ten more full hours than the next.
fn shift_over_eleven_hours(rig: &Rig) {
    rig.clock.shift(HOUR - rig.clock.now().as_millis() % HOUR + 10 * HOUR + HOUR / 2);
}

/// A store like the rig's, on which a scheduler leads that does not work yet.
async fn on_counted(rig: &Rig) -> (Arc<Counted>, Scheduler) {
    let store = Arc::new(Counted::new(rig.store.clone()));
    let (config, clock, shutdown) = (EngineConfig::default(), rig.clock.clone(), rig.shutdown.clone());
    let engine = Engine::start(store.clone(), rig.broker.clone(), registry(), clock, config, shutdown);
    let config = SchedulerConfig { tick: Duration::from_millis(20), lead: Lead::Always, ..SchedulerConfig::default() };
    (store, Scheduler::new(engine.await.expect("an engine"), config))
}

async fn write(rig: &Rig, space: Space, called: &str, value: Value) -> RegisterKey {
    let key = RegisterKey { space, tenant: Tenant::default(), name: called.into() };
    let swap = Swap { key: key.clone(), expect: Expect::Absent, to: Some((value, Some(rig.clock.now()))) };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
    key
}

async fn is_there(rig: &Rig, key: &RegisterKey) -> bool {
    rig.store.registers(std::slice::from_ref(key)).await.expect("an answer")[0].is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_fires_once_and_at_once() {
    let rig = Rig::new().await;
    rig.schedule();
    rig.work();
    put(&rig, "tick", "* * * * * *", 0, json!({"missed": "fire_all"})).await;
    let jobs = eventually("four have run", || async {
        let jobs = fired(&rig, "tick").await;
        (jobs.iter().filter(|job| job.state == State::Succeeded).count() >= 4).then_some(jobs)
    })
    .await;
    let instants: Vec<i64> = jobs.iter().map(|job| job.run_at.expect("an instant").as_millis()).collect();
    assert!(instants.windows(2).all(|two| two[1] - two[0] == 1_000), "{instants:?}");
    for job in &jobs {
        println!("fired {:?} after its instant", job.created_at.since(job.run_at.expect("an instant")));
        assert!(job.created_at >= job.run_at.expect("an instant"));
    }
    // It goes on firing meanwhile.
    let last = record(&rig, "tick").await.last_job.expect("it has fired");
    assert!(fired(&rig, "tick").await.iter().any(|job| job.key.id == last));
    rig.engine.delete_schedule(&Tenant::default(), &name("tick")).await.expect("deleted");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_fires_as_it_was_asked_for() {
    let rig = Rig::new().await;
    for missed in ["skip", "fire_once", "fire_all"] {
        put(&rig, missed, "0 * * * *", 0, json!({ "missed": missed })).await;
    }
    put(&rig, "often", "*/10 * * * * *", 0, json!({"missed": "fire_all"})).await;
    shift_over_eleven_hours(&rig);
    let now = rig.clock.now();
    rig.schedule();
    for called in ["skip", "fire_once", "fire_all", "often"] {
        seen_to(&rig, called, now).await;
    }
    let last = now.as_millis() - now.as_millis() % HOUR;
    let instants = async |called| -> Vec<i64> {
        let jobs = fired(&rig, called).await;
        jobs.iter().map(|job| job.run_at.expect("an instant").as_millis()).collect()
    };
    assert_eq!(instants("skip").await, [0_i64; 0]);
    assert_eq!(instants("fire_once").await, [last]);
    assert_eq!(instants("fire_all").await, (0..=10).map(|hours| last - (10 - hours) * HOUR).collect::<Vec<_>>());
    let often = instants("often").await;
    assert!((100..110).contains(&often.len()), "the last hundred, and what came since: {}", often.len());
    assert!(register(&rig, "often").await.due_at.is_some_and(|due| due > now), "it goes on from now");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_does_not_overlap_lets_instants_go() {
    let rig = Rig::new().await;
    rig.schedule();
    rig.work();
    put(&rig, "alone", "* * * * * *", 60_000, json!({"overlap": "skip"})).await;
    let first = eventually("fired", || async { fired(&rig, "alone").await.pop() }).await;
    seen_to(&rig, "alone", rig.clock.now() + Duration::from_secs(2)).await;
    assert_eq!(fired(&rig, "alone").await.len(), 1);
    rig.engine.cancel(&first.key).await.expect("cancelled");
    rig.reaches(&first.key, State::Cancelled).await;
    eventually("fires again", || async { (fired(&rig, "alone").await.len() == 2).then_some(()) }).await;
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_replaces_never_runs_two_at_once() {
    let rig = Rig::new().await;
    rig.schedule();
    rig.work();
    put(&rig, "one", "*/5 * * * * *", 60_000, json!({"overlap": "replace"})).await;
    let jobs = eventually("three have run", || async {
        let jobs = fired(&rig, "one").await;
        (jobs.iter().filter(|job| job.started_at.is_some() && job.finished_at.is_some()).count() >= 3).then_some(jobs)
    })
    .await;
    let mut runs: Vec<_> = jobs.iter().filter_map(|job| Some((job.started_at?, job.finished_at))).collect();
    runs.sort();
    assert!(runs.windows(2).all(|two| two[0].1.is_some_and(|end| end <= two[1].0)), "{runs:?}");
    assert!(jobs.iter().all(|job| job.finished_at.is_none() || job.state == State::Cancelled));
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_does_not_fire_and_misses_nothing() {
    let rig = Rig::new().await;
    put(&rig, "paused", "* * * * * *", 0, json!({"missed": "fire_all"})).await;
    put(&rig, "other", "* * * * * *", 0, json!({})).await;
    rig.engine.pause_schedule(&Tenant::default(), &name("paused")).await.expect("paused");
    rig.clock.shift(10_000);
    rig.schedule();
    eventually("the other fires", || async { (fired(&rig, "other").await.len() >= 2).then_some(()) }).await;
    assert_eq!(fired(&rig, "paused").await, []);
    let resumed = rig.clock.now();
    rig.engine.resume_schedule(&Tenant::default(), &name("paused")).await.expect("resumed");
    eventually("it fires again", || async { (!fired(&rig, "paused").await.is_empty()).then_some(()) }).await;
    assert!(fired(&rig, "paused").await[0].run_at > Some(resumed));
    rig.shutdown.cancel();
}

/// A schedule that fires while its leader is cut off after the insert: the job is there, and the record is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_died_between_the_insert_and_the_advance_fires_nothing_twice() {
    let rig = Rig::new().await;
    put(&rig, "cut", "0 * * * *", 0, json!({"missed": "fire_all"})).await;
    let read = record(&rig, "cut").await;
    shift_over_eleven_hours(&rig);
    let now = rig.clock.now();
    let instants = read.firings(now, Duration::ZERO).instants;
    let before: Vec<_> = instants[..4].iter().map(|&instant| read.job(instant, now)).collect();
    rig.store.insert(before).await.expect("inserted");
    rig.schedule();
    seen_to(&rig, "cut", now).await;
    let jobs = fired(&rig, "cut").await;
    assert_eq!(jobs.iter().map(|job| job.run_at).collect::<BTreeSet<_>>().len(), 11);
    assert_eq!(jobs.len(), 11);
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_a_newer_build_is_left_alone_and_stands_in_nobodys_way() {
    let rig = Rig::new().await;
    put(&rig, "old", "* * * * * *", 0, json!({})).await;
    let mut value = register(&rig, "old").await.value;
    value["v"] = json!(2);
    value["name"] = json!("newer");
    let due_at = Some(rig.clock.now());
    let swap = Swap { key: key("newer"), expect: Expect::Absent, to: Some((value.clone(), due_at)) };
    assert_eq!(rig.store.swap(vec![swap]).await.expect("an answer"), [true]);
    rig.schedule();
    eventually("the other fires", || async { (fired(&rig, "old").await.len() >= 2).then_some(()) }).await;
    let newer = register(&rig, "newer").await;
    assert_eq!((newer.value, newer.due_at), (value, due_at));
    assert_eq!(fired(&rig, "newer").await, []);
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_advances_although_its_catch_up_takes_longer_than_a_lead() {
    let rig = Rig::new().await;
    put(&rig, "slow", "0 * * * *", 0, json!({"missed": "fire_all"})).await;
    let (store, scheduler) = on_counted(&rig).await;
    let clock = rig.clock.clone();
    // Three inserts take longer than a leader's lease.
    store.after_insert(move || {
        clock.shift(2_000);
        Box::pin(async {})
    });
    shift_over_eleven_hours(&rig);
    let now = rig.clock.now();
    tokio::spawn(async move { scheduler.run().await });
    seen_to(&rig, "slow", now).await;
    assert_eq!(fired(&rig, "slow").await.len(), 11);
    assert_eq!(store.calls("insert"), 11, "each was inserted once");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_is_changed_while_it_fires_knows_its_last_job() {
    let rig = Arc::new(Rig::new().await);
    put(&rig, "changed", "0 * * * *", 0, json!({"overlap": "skip"})).await;
    let (store, scheduler) = on_counted(&rig).await;
    let other = rig.clone();
    store.after_insert(move || {
        let other = other.clone();
        Box::pin(async move { put(&other, "changed", "15 * * * *", 0, json!({"overlap": "skip"})).await })
    });
    shift_over_eleven_hours(&rig);
    tokio::spawn(async move { scheduler.run().await });
    let job = eventually("fired", || async { fired(&rig, "changed").await.pop() }).await;
    eventually("it is told", || async { (record(&rig, "changed").await.last_job == Some(job.key.id)).then_some(()) })
        .await;
    assert_eq!(fired(&rig, "changed").await.len(), 1);
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_read_stops_no_schedule_and_no_other_key() {
    let rig = Rig::new().await;
    let (store, scheduler) = on_counted(&rig).await;
    let spoilt = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
    store.spoil(&spoilt);
    let now = rig.clock.now();
    let held = |id| serde_json::to_value(Held::by(id, While::Active, now)).expect("json");
    let slots_of = |id| {
        let mut slots = Slots::default();
        assert_eq!(slots.take(id, LeaseId::fresh(), now, 1), Slot::Granted);
        serde_json::to_value(slots).expect("json")
    };
    let kept = [
        write(&rig, Space::Unique, "spoilt", held(spoilt.id)).await,
        write(&rig, Space::Slots, "spoilt", slots_of(spoilt.id)).await,
    ];
    // The key of a job that is not there is kept for a while, should it still come.
    let gone = write(&rig, Space::Unique, "gone", held(JobId::fresh())).await;
    let leaked = write(&rig, Space::Slots, "leaked", slots_of(JobId::fresh())).await;
    put(&rig, "tick", "* * * * * *", 0, json!({})).await;
    rig.clock.shift(24 * HOUR);
    tokio::spawn(async move { scheduler.run().await });
    eventually("it fires", || async { (fired(&rig, "tick").await.len() >= 2).then_some(()) }).await;
    for key in [gone, leaked] {
        eventually("dropped", || async { (!is_there(&rig, &key).await).then_some(()) }).await;
    }
    for key in kept {
        assert!(is_there(&rig, &key).await, "{key:?} was dropped");
    }
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_that_are_left_alone_hide_nothing_behind_them() {
    let rig = Rig::new().await;
    let due_at = Some(rig.clock.now());
    let newer = |number: usize| {
        let key = RegisterKey { space: Space::Rate, tenant: Tenant::default(), name: number.to_string() };
        Swap { key, expect: Expect::Absent, to: Some((json!({"v": 2}), due_at)) }
    };
    // More than a tick sees.
    rig.store.swap((0..10_500).map(newer).collect()).await.expect("an answer");
    put(&rig, "tick", "* * * * * *", 0, json!({})).await;
    rig.schedule();
    eventually("it fires", || async { (!fired(&rig, "tick").await.is_empty()).then_some(()) }).await;
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_might_be_fired_again_is_not_purged_yet() {
    let rig = Rig::new().await;
    let now = rig.clock.now();
    let ended = |tags: &[&str]| {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let job = Job::accepted(key, "sleep".parse().expect("a name"), now);
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let job = Job { state: State::Succeeded, wake_at: now, finished_at: Some(now), run_at: Some(now), tags, ..job };
        NewJob { job, payload: Body::Inline("{}".into()), text: None }
    };
    let (fired, other) = (ended(&["schedule:nightly"]), ended(&[]));
    let keys = [fired.job.key.clone(), other.job.key.clone()];
    rig.store.insert(vec![fired, other]).await.expect("inserted");
    let left = || async {
        let jobs = rig.store.jobs(&keys).await.expect("an answer");
        jobs.into_iter().flatten().map(|job| job.key).collect::<Vec<_>>()
    };
    rig.schedule();
    eventually("the other is erased", || async { (!left().await.contains(&keys[1])).then_some(()) }).await;
    let (left_by, time) = (left().await, rig.clock.now().since(now));
    println!("the other was erased within {time:?}");
    assert!(left_by.contains(&keys[0]) || time > Duration::from_secs(10), "it was erased as well");
    rig.clock.shift(HOUR);
    eventually("it is erased", || async { left().await.is_empty().then_some(()) }).await;
    rig.shutdown.cancel();
}
