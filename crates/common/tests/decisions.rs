//! What decisions on a job keep to, beside what the model searches.

use std::time::Duration;

use gristmill_common::{
    JobId, LeaseId, State, Tenant, Timestamp, WorkerId,
    job::{Backoff, Change, Failure, Guard, Job, JobKey, Limits, Set},
};

fn accepted(now: Timestamp) -> Job {
    let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
    Job { max_attempts: 3, ..Job::accepted(key, "sleep".parse().expect("a name"), now) }
}

fn wakes_at(change: &Change) -> Timestamp {
    let wakes = change.sets.iter().find_map(|set| match set {
        Set::WakeAt(at) => Some(*at),
        _ => None,
    });
    wakes.expect("a time")
}

#[test]
fn a_least_wait_beyond_the_longest_is_the_longest() {
    let now = Timestamp::from_millis(1_000);
    let running = Job { state: State::Running, lease: Some(LeaseId::fresh()), attempt: 1, ..accepted(now) };
    let failure = Failure { code: "busy".into(), message: String::new(), retryable: true, min_delay: Duration::MAX };
    let change = running.fail(&failure, now, &Limits::default(), 1.0).expect("a running job");
    assert_eq!(wakes_at(&change), now + Backoff::LONGEST);
}

/// A plan to expire a job must not hit it once it has been cancelled and set to run again without its deadline.
#[test]
fn an_old_plan_to_expire_a_job_is_refused_once_the_job_has_moved_on() {
    let now = Timestamp::from_millis(1_000);
    let overdue = Job { deadline: Some(now), state: State::Queued, ..accepted(now) };
    let plan = overdue.expire(now, &Limits::default()).expect("a queued job");
    let claimed = overdue.claim(LeaseId::fresh(), WorkerId::fresh(), now, now).expect("a queued job");
    let guard =
        Guard { claims: Some(0), rings: Some(0), wake_at: Some(overdue.wake_at), ..Guard::state(State::Queued) };
    assert_eq!(plan.guard, guard);
    assert!(claimed.sets.contains(&Set::Claims(1)));
}

/// How a job ended says how long it is kept, whoever ended it.
#[test]
fn each_end_is_kept_for_its_own_time() {
    let now = Timestamp::from_millis(1_000);
    let [retention, failed_retention, cancelled_retention] = [1, 2, 3].map(Duration::from_secs);
    let limits = Limits { retention, failed_retention, cancelled_retention, max_rescues: 0 };
    let queued = accepted(now);
    let running = Job { state: State::Running, lease: Some(LeaseId::fresh()), attempt: 3, ..accepted(now) };
    let stopping = Job { cancel_requested: true, ..running.clone() };
    let failure = Failure { code: "a".into(), message: String::new(), retryable: true, min_delay: Duration::ZERO };
    let body = gristmill_common::Body::Inline(bytes::Bytes::new());
    let ends = [
        running.succeed(body, now, &limits),
        running.fail(&failure, now, &limits, 0.5),
        running.rescue(now, &limits),
        queued.expire(now, &limits),
        queued.cancel(now, &limits),
        stopping.fail(&failure, now, &limits, 0.5),
        stopping.release(now, &limits),
        stopping.rescue(now, &limits),
    ];
    for end in ends {
        let end = end.expect("it may end so");
        assert!(end.next_state().is_terminal());
        assert_eq!(wakes_at(&end), now + limits.kept(end.next_state()), "{:?}", end.next_state());
    }
}
