//! What drives the scheduler's duties.

use gristmill_common::{
    JobId, State, Tenant,
    job::{Job, Lane, Limits, NewJob, Priority},
};

use super::{Backend, at, claim_of, insert, job, job_of};
use crate::{DueScan, Position};

fn scan(state: State, lane: Option<Lane>, until: u64) -> DueScan {
    DueScan { state, lane, until: at(until), after: None, limit: 1_000 }
}

fn ids<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Vec<JobId> {
    jobs.into_iter().map(|job| job.key.id).collect()
}

fn in_lane(tenant: &str, queue: &str, priority: Priority, at_millis: u64) -> NewJob {
    let mut new = job_of(tenant.parse().expect("a name"), at(at_millis));
    new.job.queue = queue.parse().expect("a name");
    new.job.priority = priority;
    new
}

/// A scan finds the jobs of its state whose clock stands at its time or earlier, of every tenant, the longest
/// ago first; and a change of state moves a job from one scan to another.
pub async fn due_jobs_are_found_by_state_and_clock(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<NewJob> = (0..12).map(|n| job_of(["a", "b"][n % 2].parse().expect("a name"), at(0))).collect();
    for (n, new) in jobs.iter_mut().enumerate() {
        new.job.wake_at = at(100 - n as u64);
        new.job.state = if n < 8 { State::Scheduled } else { State::Succeeded };
    }
    insert(&store, jobs.clone()).await;
    let due = store.due(&scan(State::Scheduled, None, 97)).await.expect("an answer");
    assert_eq!(ids(&due), ids(jobs[3..8].iter().rev().map(|new| &new.job)));
    assert_eq!(due[0], jobs[7].job);
    assert!(store.due(&scan(State::Running, None, 1_000)).await.expect("an answer").is_empty());

    let moved = store.apply(vec![due[0].due(at(97)).expect("it is scheduled")]).await.expect("a change");
    let moved = moved[0].clone().expect("its guard holds");
    let due = store.due(&scan(State::Scheduled, None, 97)).await.expect("an answer");
    assert_eq!(due.len(), 4);
    let queued = store.due(&scan(State::Queued, Some(moved.lane()), 97)).await.expect("an answer");
    assert_eq!(queued, std::slice::from_ref(&moved));
    let claim = claim_of(std::slice::from_ref(&moved.key), at(98));
    let until = claim.until;
    store.claim(claim).await.expect("a claim");
    assert!(store.due(&scan(State::Queued, Some(moved.lane()), 97)).await.expect("an answer").is_empty());
    let ends = DueScan { until, ..scan(State::Running, None, 0) };
    assert_eq!(ids(&store.due(&ends).await.expect("an answer")), [moved.key.id]);
}

/// A count has the jobs of its state whose clock stands at its time or later.
pub async fn jobs_are_counted_by_state_and_clock(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<NewJob> = (0..10).map(|n| job_of(["a", "b"][n % 2].parse().expect("a name"), at(0))).collect();
    for (n, new) in jobs.iter_mut().enumerate() {
        new.job.wake_at = at(n as u64);
        new.job.state = if n < 8 { State::Succeeded } else { State::Failed };
    }
    insert(&store, jobs).await;
    assert_eq!(store.count_from(State::Succeeded, at(3)).await.expect("an answer"), 5);
    assert_eq!(store.count_from(State::Failed, at(0)).await.expect("an answer"), 2);
    assert_eq!(store.count_from(State::Cancelled, at(0)).await.expect("an answer"), 0);
}

/// A queued job is found in its own lane, whatever waits in the others.
pub async fn each_lane_is_scanned_by_itself(backend: &dyn Backend) {
    let store = backend.open().await;
    let crowd: Vec<NewJob> = (0..200).map(|n| in_lane("crowd", "q", Priority::High, n)).collect();
    insert(&store, crowd).await;
    let lone = [
        in_lane("lone", "q", Priority::High, 500),
        in_lane("crowd", "q", Priority::Low, 501),
        in_lane("crowd", "q2", Priority::High, 502),
    ];
    insert(&store, lone.clone()).await;
    for new in lone {
        let due = store.due(&scan(State::Queued, Some(new.job.lane()), 1_000)).await.expect("an answer");
        assert_eq!(ids(&due), [new.job.key.id]);
    }
}

/// A scan takes at most its limit, and goes on after the last entry, among jobs of one time too.
pub async fn a_scan_is_resumed_where_it_ended(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs: Vec<NewJob> = (0..25).map(|n| job(at(n / 10))).collect();
    insert(&store, jobs.clone()).await;
    let lane = Some(jobs[0].job.lane());
    let mut scan = DueScan { limit: 4, ..scan(State::Queued, lane, 1_000) };
    let mut found: Vec<Job> = Vec::new();
    loop {
        let due = store.due(&scan).await.expect("an answer");
        assert!(due.len() <= 4);
        let Some(last) = due.last() else { break };
        scan.after = Some(Position { at: last.wake_at, id: last.key.id });
        found.extend(due);
    }
    let mut expected: Vec<Job> = jobs.into_iter().map(|new| new.job).collect();
    expected.sort_by_key(|job| (job.wake_at, job.key.id));
    assert_eq!(found, expected);
}

/// Each lane in which a queued job waits is told once, in order, and no other.
pub async fn lanes_are_told_once_each(backend: &dyn Backend) {
    let store = backend.open().await;
    assert!(store.lanes().await.expect("an answer").is_empty());
    let mut jobs = Vec::new();
    for (n, (tenant, queue)) in [("a", "q"), ("b", "q"), ("a", "q-2"), ("a", "q.2"), ("a", "q2")].iter().enumerate() {
        jobs.extend(Priority::ALL.map(|priority| in_lane(tenant, queue, priority, n as u64)));
        jobs.push(in_lane(tenant, queue, Priority::High, 100));
    }
    let mut elsewhere = in_lane("c", "never", Priority::High, 0);
    elsewhere.job.state = State::Scheduled;
    jobs.push(elsewhere);
    insert(&store, jobs.clone()).await;
    let queued = |new: &&NewJob| new.job.state == State::Queued;
    let mut expected: Vec<Lane> = jobs.iter().filter(queued).map(|new| new.job.lane()).collect();
    expected.sort_by_key(Lane::to_text);
    expected.dedup();
    assert_eq!(expected.len(), 15);
    assert_eq!(store.lanes().await.expect("an answer"), expected);

    let keys: Vec<_> = jobs.iter().filter(queued).skip(1).map(|new| new.job.key.clone()).collect();
    store.claim(claim_of(&keys, at(200))).await.expect("a claim");
    assert_eq!(store.lanes().await.expect("an answer"), [jobs[0].job.lane()]);
}

/// A deadline counts until the job has started.
pub async fn overdue_jobs_are_those_that_have_not_started(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<NewJob> = (0..12).map(|_| job(at(0))).collect();
    for (n, new) in jobs.iter_mut().enumerate() {
        new.job.state = State::ALL[n % 6];
        new.job.deadline = Some(at(100 - n as u64));
    }
    jobs.push(job(at(0)));
    insert(&store, jobs.clone()).await;
    let overdue = |now| store.overdue(at(now), 10);
    assert_eq!(ids(&overdue(93).await.expect("an answer")), [jobs[7].job.key.id]);
    let expected = [7, 6, 1, 0].map(|n: usize| jobs[n].job.key.id);
    assert_eq!(ids(&overdue(1_000).await.expect("an answer")), expected);
    let bounded = store.overdue(at(1_000), 2).await.expect("an answer");
    assert_eq!(ids(&bounded), expected[..2]);

    store.claim(claim_of(&[jobs[7].job.key.clone()], at(1))).await.expect("a claim");
    let expire = bounded[1].expire(at(1_000), &Limits::default()).expect("it may expire");
    store.apply(vec![expire]).await.expect("a change");
    assert_eq!(ids(&overdue(1_000).await.expect("an answer")), expected[2..]);
}

/// Of the jobs asked about, those still queued are told as they are.
pub async fn waiting_jobs_are_those_still_queued(backend: &dyn Backend) {
    let store = backend.open().await;
    let jobs: Vec<NewJob> = (0..3).map(|n| job(at(n))).collect();
    insert(&store, jobs.clone()).await;
    let keys: Vec<_> = jobs.iter().map(|new| new.job.key.clone()).collect();
    store.claim(claim_of(&keys[1..2], at(5))).await.expect("a claim");
    let asked = [keys.clone(), vec![job(at(0)).job.key]].concat();
    let mut waiting = store.waiting(&asked).await.expect("an answer");
    waiting.sort_by_key(|job| job.created_at);
    assert_eq!(waiting, [jobs[0].job.clone(), jobs[2].job.clone()]);
}

/// Jobs are told in the order in which they are asked for, in any state, each as often as it is asked for.
pub async fn many_jobs_are_read_at_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut jobs: Vec<NewJob> = (0..6).map(|n| job_of(["a", "b"][n % 2].parse().expect("a name"), at(0))).collect();
    for (new, state) in jobs.iter_mut().zip(State::ALL) {
        new.job.state = state;
    }
    // Another tenant's job of the same id.
    jobs[1].job.key.id = jobs[0].job.key.id;
    insert(&store, jobs.clone()).await;
    let mut wanted: Vec<Option<Job>> = jobs.iter().rev().map(|new| Some(new.job.clone())).collect();
    wanted.push(wanted[2].clone());
    let mut keys: Vec<_> = wanted.iter().flatten().map(|job| job.key.clone()).collect();
    keys.insert(3, job(at(0)).job.key);
    wanted.insert(3, None);
    assert_eq!(store.jobs(&keys).await.expect("jobs"), wanted);
    assert_eq!(store.jobs(&[]).await.expect("no jobs"), []);
}

/// Of the queued jobs of one queue, in any band and of any tenant, the one accepted first.
pub async fn the_oldest_waiting_job_of_a_queue_is_told(backend: &dyn Backend) {
    let store = backend.open().await;
    let tenant = Tenant::default().to_string();
    let mut jobs = [
        in_lane(&tenant, "q", Priority::High, 30),
        in_lane("z", "q", Priority::Low, 20),
        in_lane("a", "q", Priority::Normal, 25),
        in_lane(&tenant, "q2", Priority::High, 1),
        in_lane(&tenant, "q-", Priority::High, 2),
        in_lane(&tenant, "q", Priority::High, 3),
    ];
    jobs[5].job.state = State::Running;
    // When a ring is due says nothing about when a job came.
    jobs[1].job.wake_at = at(9_000);
    insert(&store, jobs.clone()).await;
    for (queue, expected) in [("q", Some(at(20))), ("q2", Some(at(1))), ("none", None)] {
        let queue = queue.parse().expect("a name");
        assert_eq!(store.oldest_waiting(&queue).await.expect("an answer"), expected, "{queue}");
    }
}
