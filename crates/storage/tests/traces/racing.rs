//! Many act at once on a few jobs, each on what it has read, however old. Each change leaves a line in its job's history
//! that no other leaves. Put in that order, each must be what `Change::apply` makes of the job before, version by
//! version: all that the store says it has made, and none besides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gristmill_common::{
    Body, LeaseId, Part, Timestamp, WorkerId,
    job::{Backoff, Change, Failure, HistoryEntry, Job, JobKey, Limits, NewJob, What},
};
use gristmill_storage::{
    Claim, Store, Whom,
    conformance::{at, insert, job, text},
};

/// Who acts at once.
const ACTORS: u64 = 8;
/// What each does.
const TURNS: u64 = 30;
/// What they do it to.
const JOBS: usize = 3;

/// What was done to jobs, and what the store answered: others may have changed a job again before it was read back.
#[derive(Default)]
struct Log {
    /// Changes that it says it has made.
    changes: Vec<(Change, Job)>,
    /// Claims that were tried: a job that its claimer has lost already is left out of the answer.
    claims: Vec<(Claim, Vec<Job>)>,
}

type Shared = Arc<Mutex<Log>>;

fn note(log: &Shared, note: impl FnOnce(&mut Log)) {
    note(&mut log.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Races of all actors, one for each seed; they take turns at the stores given, which are of one place.
pub(crate) async fn all(stores: [Arc<dyn Store>; 2], seeds: u64) {
    let (mut made, mut refused) = (0, 0);
    for seed in 0..seeds.div_ceil(2) {
        let (of_race, against) = race(&stores, seed).await;
        (made, refused) = (made + of_race, refused + against);
    }
    println!("{made} changes made, {refused} refused");
    assert!(made > 0 && refused > 0, "nobody raced");
}

/// One race; tells how many changes were made, and how many refused.
async fn race(stores: &[Arc<dyn Store>; 2], seed: u64) -> (usize, usize) {
    let news = [0; JOBS].map(|_| {
        let mut new = job(at(0));
        new.job.backoff = Backoff::Fixed { delay_ms: 5 };
        new
    });
    insert(&stores[0], news.clone()).await;
    let keys: Arc<[JobKey]> = news.iter().map(|new| new.job.key.clone()).collect();
    let log = Shared::default();
    let actors = (0..ACTORS).map(|number| {
        let store = Arc::clone(&stores[number as usize % stores.len()]);
        let random = fastrand::Rng::with_seed(seed * ACTORS + number);
        tokio::spawn(act(store, random, Arc::clone(&keys), Arc::clone(&log)))
    });
    let refused = futures::future::join_all(actors).await;
    let refused = refused.into_iter().map(|refused| refused.unwrap_or_else(|_| panic!("seed {seed}"))).sum();

    let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    let mut made = 0;
    for new in news {
        let stored = stores[0].jobs(std::slice::from_ref(&new.job.key)).await.expect("jobs").remove(0);
        let stored = stored.expect("it is there");
        let payload = stores[0].body(&new.job.key, Part::Payload).await.expect("an answer").expect("it has one");
        made += put_in_line(new, &log, (&stored, payload), &format!("seed {seed}, {}", stored.key.id));
    }
    (made, refused)
}

/// Replays what was done to a job in the order of its history; tells how much it was.
fn put_in_line(new: NewJob, log: &Log, (stored, last): (&Job, Body), place: &str) -> usize {
    assert_eq!(stored.history.omitted(), 0, "{place}: its history is whole");
    let (mut job, mut payload) = (new.job, new.payload);
    let mut told: Vec<&(Change, Job)> = log.changes.iter().filter(|(change, _)| change.key == job.key).collect();
    let mut answers = Vec::new();
    let mut versions = BTreeMap::new();
    for entry in stored.history.entries().skip(1) {
        let change = if let Some((claim, got)) = log.claims.iter().find(|(claim, _)| Some(claim.worker) == entry.worker)
        {
            assert!(claim.whom == Whom::Any || job.rescues == 0, "{place}: a rescued job is claimed alone");
            answers.extend(got.iter().filter(|got| got.key == job.key).map(|got| (job.version + 1, got)));
            job.claim(claim.lease, claim.worker, claim.now, claim.until)
                .unwrap_or_else(|error| panic!("{place}: {error}"))
        } else {
            let message = |change: &Change| change.entry.as_ref().and_then(|entry| entry.message.clone());
            let at = told.iter().position(|(change, _)| message(change) == entry.message);
            let (change, answer) = told.swap_remove(at.unwrap_or_else(|| panic!("{place}: {entry:?} was never told")));
            answers.push((job.version + 1, answer));
            change.clone()
        };
        payload = change.payload.clone().unwrap_or(payload);
        assert!(change.clone().apply(&mut job), "{place}: {change:?} was made, and its guard did not hold of {job:?}");
        versions.insert(job.version, job.clone());
    }
    assert!(told.is_empty(), "{place}: told and not made: {told:?}");
    assert_eq!((stored, last), (&job, payload), "{place}");
    for (version, answer) in answers {
        assert!(answer.version >= version, "{place}: an answer is older than its change");
        assert_eq!(Some(answer), versions.get(&answer.version), "{place}");
    }
    versions.len()
}

/// Acts on jobs at random, one by one or several at once; tells how many changes were refused.
async fn act(store: Arc<dyn Store>, mut random: fastrand::Rng, keys: Arc<[JobKey]>, log: Shared) -> usize {
    let mut seen: Vec<Job> = Vec::new();
    let mut refused = 0;
    for turn in 1..=TURNS {
        let now = at(turn * 10);
        if seen.is_empty() || random.bool() {
            seen = store.jobs(&keys).await.expect("jobs").into_iter().flatten().collect();
        }
        if random.u8(0..3) == 0 {
            claim(&*store, &mut random, &seen, now, &log).await;
            continue;
        }
        let mut changes: Vec<Change> =
            (0..random.usize(1..=JOBS)).filter_map(|_| something(&mut random, &seen, now)).collect();
        for change in &mut changes {
            let entry = change.entry.get_or_insert_with(|| HistoryEntry::new(now, What::Due));
            entry.message = Some(random.u64(..).to_string());
        }
        let answers = store.apply(changes.clone()).await.expect("an answer");
        for (change, answer) in changes.into_iter().zip(answers) {
            match answer {
                Some(answer) => note(&log, |log| log.changes.push((change, answer))),
                None => refused += 1,
            }
        }
    }
    refused
}

/// Claims some of the jobs.
async fn claim(store: &dyn Store, random: &mut fastrand::Rng, seen: &[Job], now: Timestamp, log: &Shared) {
    let keys: Vec<JobKey> = seen.iter().filter(|_| random.bool()).map(|job| job.key.clone()).collect();
    let whom = if keys.len() > 1 { Whom::NeverRescued } else { Whom::Any };
    let until = now + Duration::from_secs(10);
    let claim = Claim { keys, lease: LeaseId::fresh(), worker: WorkerId::fresh(), now, until, whom };
    let got = store.claim(claim.clone()).await.expect("an answer");
    note(log, |log| log.claims.push((claim, got.into_iter().map(|claimed| claimed.job).collect())));
}

/// Something that may happen to one of the jobs as they were read.
fn something(random: &mut fastrand::Rng, seen: &[Job], now: Timestamp) -> Option<Change> {
    let job = random.choice(seen)?;
    let limits = Limits::default();
    let until = now + Duration::from_millis(15);
    let failure = Failure { code: "boom".into(), message: String::new(), retryable: true, min_delay: Duration::ZERO };
    let body = |number: u32| -> Body { text(&number.to_string()) };
    let decision = match random.u8(0..12) {
        0 | 1 => job.due(now),
        2 => job.ring(now),
        3 => job.park(now, until),
        4 => job.put_off(body(random.u32(..)), until),
        5 => job.succeed(body(random.u32(..)), now, &limits),
        6 => job.fail(&failure, now, &limits, random.f64()),
        7 => job.release(now, &limits),
        8 => job.rescue(now, &limits),
        9 => job.cancel(now, &limits),
        10 => job.expire(now, &limits),
        _ => job.run_again(now, 2),
    };
    decision.ok()
}
