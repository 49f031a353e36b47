//! Tenants who share a band: none makes another wait more than twice as long as alone. That is counted in jobs, which
//! are all alike, and not in seconds: while one tenant's jobs are run, no more of another's are than of its own.

mod support;

use std::time::Duration;

use gristmill_common::{State, Timestamp, job::Job};
use gristmill_engine::{Origin, WorkerConfig};
use gristmill_testkit::eventually;
use serde_json::json;
use support::{Rig, request, tenant};

const BATCH: u32 = 1_000;
const FLOOD: u32 = 20;
/// What a worker has in hand, and the least window.
const IN_HAND: usize = 256;
/// What submitters ring for while nobody answers, and once more before they hear of a backlog.
const IN_THE_BROKER: usize = 512;
/// A share that a tenant may have beyond its own, in hundredths.
const SLACK: usize = 125;

async fn submit(rig: &Rig, name: &str, ms: u64) {
    let batch = (0..BATCH).map(|place| (place, request("sleep", json!({ "ms": ms })))).collect();
    let origin = Origin { tenant: tenant(name), ..Origin::default() };
    assert!(rig.engine.submit_batch(origin, batch).await.iter().all(Result::is_ok));
}

async fn succeeded(rig: &Rig, name: &str) -> u64 {
    rig.engine.stats(&tenant(name)).await.expect("statistics").counts.succeeded
}

fn starts(jobs: &[Job]) -> Vec<Timestamp> {
    let mut starts: Vec<Timestamp> = jobs.iter().filter_map(|job| job.started_at).collect();
    starts.sort();
    starts
}

fn between(starts: &[Timestamp], from: Timestamp, to: Timestamp) -> usize {
    starts.iter().filter(|&&at| from <= at && at <= to).count()
}

/// The most that were started within a second before this moment: the last one may have been a stall.
fn best_second(starts: &[Timestamp], until: Timestamp) -> usize {
    let starts = &starts[..starts.partition_point(|&at| at <= until)];
    let within = |(place, &first): (usize, &Timestamp)| {
        starts[place..].partition_point(|&at| at <= first + Duration::from_secs(1))
    };
    starts.iter().enumerate().map(within).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_behind_a_flood_waits_no_more_than_twice_as_long_as_alone() {
    let rig = Rig::new().await;
    rig.schedule();
    for _ in 0..FLOOD {
        submit(&rig, "flood", 1).await;
    }
    rig.work_with(WorkerConfig { concurrency: 8, ..WorkerConfig::default() });
    eventually("the flood is worked at", || async { (succeeded(&rig, "flood").await > 1_000).then_some(()) }).await;
    submit(&rig, "newcomer", 1).await;
    eventually("the newcomer is served", || async {
        (succeeded(&rig, "newcomer").await == u64::from(BATCH)).then_some(())
    })
    .await;
    let (newcomer, flood) = (rig.jobs_of("newcomer").await, rig.jobs_of("flood").await);
    assert!(flood.iter().any(|job| job.state == State::Queued), "the flood is over");
    let came = newcomer.iter().map(|job| job.created_at).max().expect("jobs");
    let (own, others) = (starts(&newcomer), starts(&flood));
    let (first, last) = (own[0], own[own.len() - 1]);
    let pace = best_second(&others, came);
    let (before, beside) = (between(&others, came, first), between(&others, first, last));
    println!(
        "{before} of the flood were run before the newcomer's first, {beside} beside its {BATCH}; {pace} a second"
    );
    assert!(before <= pace + IN_HAND, "{before} were run before its first, at {pace} a second");
    assert!(beside <= BATCH as usize * SLACK / 100 + IN_HAND, "{beside} were run beside its {BATCH}");
    rig.shutdown.cancel();
}

/// Many lanes, and room for few: each gets its turn.
#[tokio::test(flavor = "multi_thread")]
async fn many_tenants_with_long_jobs_take_turns() {
    const TENANTS: usize = 100;
    let rig = Rig::new().await;
    rig.schedule();
    submit(&rig, "flood", 5).await;
    for number in 0..TENANTS {
        let origin = Origin { tenant: tenant(&format!("t{number}")), ..Origin::default() };
        for _ in 0..3 {
            rig.engine.submit(origin.clone(), request("sleep", json!({"ms": 5}))).await.expect("accepted");
        }
    }
    rig.work_with(WorkerConfig { concurrency: 2, ..WorkerConfig::default() });
    let mut last = Vec::new();
    for number in 0..TENANTS {
        let name = format!("t{number}");
        eventually("it is served", || async { (succeeded(&rig, &name).await == 3).then_some(()) }).await;
        last.extend(starts(&rig.jobs_of(&name).await).pop());
    }
    let last = last.into_iter().max().expect("starts");
    let flood = starts(&rig.jobs_of("flood").await).into_iter().filter(|&start| start <= last).count();
    println!("{flood} of the flood were run before the last of 3 of each of {TENANTS}");
    // What was in the broker before them, and then a share like each of theirs.
    assert!(flood <= IN_THE_BROKER + IN_HAND, "they waited for {flood} of the flood");
    rig.shutdown.cancel();
}
