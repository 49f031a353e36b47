//! Two schedulers that both lead, on purpose: leadership only saves work. And one that is gone without a word, whose
//! lead another takes.

mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gristmill_common::{
    BandKey, JobId, LeaseId, QueueName, State, Tenant, WorkerId,
    job::{Job, JobKey, NewJob, Priority, What},
};
use gristmill_engine::{Engine, Lead, Origin, Scheduler, SchedulerConfig};
use gristmill_storage::{Claim, Whom};
use gristmill_testkit::eventually;
use serde_json::{Value, json};
use support::{Rig, request, with};
use tokio::task::JoinHandle;

const TICK: Duration = Duration::from_millis(20);

fn lead(engine: &Engine, lead: Lead, leader_lease: Duration) -> JoinHandle<()> {
    let config = SchedulerConfig { tick: TICK, leader_lease, lease: Duration::from_millis(200), lead };
    let scheduler = Scheduler::new(engine.clone(), config);
    tokio::spawn(async move { scheduler.run().await })
}

/// Claims jobs for a moment, as a worker that then dies.
async fn claim_and_die_soon(rig: &Rig, keys: &[JobKey]) {
    let now = rig.clock.now();
    let (lease, worker, until) = (LeaseId::fresh(), WorkerId::fresh(), now + Duration::from_millis(300));
    let claim = Claim { keys: keys.to_vec(), lease, worker, now, until, whom: Whom::Any };
    assert_eq!(rig.store.claim(claim).await.expect("an answer").len(), keys.len());
}

/// Jobs that ended so long ago that they are to be erased.
async fn ended_long_ago(rig: &Rig, number: usize) -> Vec<JobKey> {
    let now = rig.clock.now();
    let old = |_| {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let ended = Some(now - Duration::from_secs(60));
        let job = Job::accepted(key, "sleep".parse().expect("a name"), now - Duration::from_secs(120));
        let job = Job { state: State::Succeeded, wake_at: now, finished_at: ended, ..job };
        NewJob { job, payload: gristmill_common::Body::Inline("{}".into()), text: None }
    };
    let new: Vec<NewJob> = (0..number).map(old).collect();
    let keys = new.iter().map(|new| new.job.key.clone()).collect();
    rig.store.insert(new).await.expect("inserted");
    keys
}

async fn submit_many(rig: &Rig, number: usize, job_type: &str, payload: Value, more: Value) -> Vec<JobKey> {
    let requests = (0..number as u32).map(|place| (place, with(job_type, payload.clone(), more.clone())));
    let outcomes = rig.engine.submit_batch(Origin::default(), requests.collect()).await;
    outcomes.into_iter().map(|outcome| outcome.expect("accepted").key).collect()
}

fn times(job: &Job, what: What) -> usize {
    job.history.entries().filter(|entry| entry.what == what).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_both_lead_do_no_harm() {
    let rig = Rig::new().await;
    let lost = submit_many(&rig, 40, "sleep", json!({"ms": 0}), json!({})).await;
    claim_and_die_soon(&rig, &lost).await;
    let old = ended_long_ago(&rig, 300).await;
    let other = rig.another_engine().await;
    for engine in [&rig.engine, &other] {
        lead(engine, Lead::Always, Duration::from_secs(5));
    }
    let schedule = json!({"cron": "* * * * * *", "missed": "fire_all", "job": {"type": "sleep", "payload": {"ms": 0}}});
    let name = "tick".parse().expect("a name");
    let schedule = serde_json::from_value(schedule).expect("a request");
    rig.engine.put_schedule(&Tenant::default(), &name, schedule).await.expect("a schedule");
    let delayed = submit_many(&rig, 100, "sleep", json!({"ms": 0}), json!({"delay_ms": 200})).await;
    let fixed = json!({"max_attempts": 3, "backoff": {"kind": "fixed", "delay_ms": 50}});
    let retried = submit_many(&rig, 40, "fail", json!({"message": "no", "until_attempt": 3}), fixed).await;
    let deadline = rig.clock.now() + Duration::from_secs(2);
    let overdue = json!({"delay_ms": 3_600_000, "deadline": deadline});
    let overdue = submit_many(&rig, 60, "sleep", json!({"ms": 0}), overdue).await;
    let slots = json!({"concurrency": {"key": "one", "limit": 1}});
    let slots = submit_many(&rig, 20, "sleep", json!({"ms": 5}), slots).await;
    // Their messages are lost.
    let purged = submit_many(&rig, 40, "sleep", json!({"ms": 0}), json!({})).await;
    let band = BandKey { queue: QueueName::default(), priority: Priority::Normal };
    rig.broker.purge(&band).await.expect("purged");
    rig.work();

    for (keys, state) in [
        (&lost, State::Succeeded),
        (&delayed, State::Succeeded),
        (&retried, State::Succeeded),
        (&overdue, State::Failed),
        (&slots, State::Succeeded),
        (&purged, State::Succeeded),
    ] {
        for key in keys {
            let job = rig.reaches(key, state).await;
            let ends = times(&job, What::Succeeded) + times(&job, What::Failed);
            assert_eq!(ends, 1, "{:?}", job.history);
        }
    }
    for key in &lost {
        let job = rig.job(key).await;
        assert_eq!((times(&job, What::Rescued), job.rescues, job.attempt, job.claims), (1, 1, 1, 2));
    }
    for key in &delayed {
        let job = rig.job(key).await;
        assert_eq!((times(&job, What::Due), job.attempt), (1, 1));
    }
    for key in &retried {
        let job = rig.job(key).await;
        assert_eq!((times(&job, What::RetryScheduled), job.attempt), (2, 3));
    }
    eventually("the old are erased", || async {
        let left = rig.store.jobs(&old).await.expect("an answer");
        left.iter().all(Option::is_none).then_some(())
    })
    .await;
    let fired = eventually("the schedule fires", || async {
        let mut jobs = rig.jobs_of("default").await;
        jobs.retain(|job| job.tags.iter().any(|tag| tag == "schedule:tick"));
        (jobs.len() >= 4).then_some(jobs)
    })
    .await;
    let instants: BTreeSet<i64> = fired.iter().filter_map(|job| Some(job.run_at?.as_millis())).collect();
    assert_eq!(instants.len(), fired.len(), "an instant fired twice");
    let span = instants.last().expect("an instant") - instants.first().expect("an instant");
    assert_eq!(span, 1_000 * (instants.len() as i64 - 1), "an instant was left out: {instants:?}");
    rig.shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_of_one_that_is_gone_is_taken_within_two_leases() {
    const LEASE: Duration = Duration::from_secs(5);
    let rig = Rig::new().await;
    let first = lead(&rig.engine, Lead::Elected, LEASE);
    let leader = eventually("somebody leads", || async { rig.store.leader().await.expect("an answer") }).await;
    lead(&rig.engine, Lead::Elected, LEASE);
    let gone = Instant::now();
    first.abort();
    let key = rig.submit(with("sleep", json!({"ms": 0}), json!({"delay_ms": 1}))).await;
    eventually("another leads", || async {
        let now = rig.store.leader().await.expect("an answer")?;
        (now.holder != leader.holder).then_some(())
    })
    .await;
    let taken = gone.elapsed();
    rig.reaches(&key, State::Queued).await;
    println!("another led after {taken:.2?}; what was due was queued after {:.2?}", gone.elapsed());
    assert!(taken < 2 * LEASE + TICK, "{taken:?}");
    let ended = rig.submit(request("sleep", json!({"ms": 0}))).await;
    rig.engine.cancel(&ended).await.expect("cancelled");
    rig.shutdown.cancel();
}
