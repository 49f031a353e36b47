//! Schedules fire: each instant once, what was missed as it was asked for, and one beside another or not.

mod support;

use std::{collections::BTreeSet, time::Duration};

use gristmill_common::{
    State, Tenant, Timestamp,
    job::Job,
    schedule::{ScheduleName, ScheduleRecord},
};
use gristmill_engine::StoreError;
use gristmill_storage::{Expect, Register, RegisterKey, Space, Swap};
use gristmill_testkit::eventually;
use serde::Deserialize;
use serde_json::{Value, json};
use support::Rig;

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

#[tokio::test(flavor = "multi_thread")]
async fn each_instant_fires_once_and_at_once() {
    let rig = Rig::new().await;
    rig.schedule();
    rig.work();
    put(&rig, "tick", "* * * * * *", 0, json!({})).await;
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
    let record = record(&rig, "tick").await;
    assert_eq!(record.last_job, fired(&rig, "tick").await.last().map(|job| job.key.id));
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
    put(&rig, "one", "* * * * * *", 60_000, json!({"overlap": "replace"})).await;
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
