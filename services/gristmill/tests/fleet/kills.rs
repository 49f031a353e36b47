//! The promise that counts, on a fleet: what was answered with 202 is done, once, whatever is killed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gristmill_testkit::{Answer, Http, Kind, PrivateRabbit, World};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{counts, ended, fleet, turn};

const JOBS: usize = 20_000;
const CLIENTS: usize = 64;
/// How long it may take until all that was accepted has ended.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the clients share.
#[derive(Default)]
struct Load {
    next: AtomicUsize,
    accepted: AtomicUsize,
    /// Requests that had to be sent again: when, and why.
    repeated: Mutex<Vec<(Instant, String)>>,
}

impl Load {
    /// Waits until so many were accepted.
    async fn reaches(&self, accepted: usize) {
        let asked = Instant::now();
        while self.accepted.load(Ordering::Relaxed) < accepted {
            assert!(asked.elapsed() < PATIENCE, "submissions do not go on: {:?}", self.repeated.lock());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One client, with connections of its own: submits as long as there is something to submit, each job with a key and
/// until it is answered with 202. Returns the ids.
async fn submit_all(http: Http, load: Arc<Load>) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        if number >= JOBS {
            return ids;
        }
        let job = if number.is_multiple_of(2) {
            // Some run for a while, so that whoever is killed has something in hand.
            json!({"type": "sleep", "payload": {"ms": number % 100}})
        } else {
            json!({"type": "word_count", "payload": {"text": format!("to be or not to be, number {number}")}})
        };
        loop {
            let request = http.call(Method::POST, "/jobs").header("Idempotency-Key", format!("number-{number}"));
            let why = match Answer::try_of(request.json(&job)).await {
                Ok(answer) if answer.status == 202 => {
                    ids.push(answer.id());
                    break;
                }
                Ok(answer) => format!("{}: {}", answer.status, answer.text),
                Err(error) => format!("{error:?}"),
            };
            load.repeated.lock().expect("no client panicked").push((Instant::now(), why));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        load.accepted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Every job, by its id.
async fn all_jobs(http: &Http) -> HashMap<String, Value> {
    let (mut jobs, mut call) = (HashMap::new(), "/jobs?limit=500".to_owned());
    loop {
        let page = http.get(&call).await.expect(200);
        for job in page.items() {
            let id = job["id"].as_str().expect("an id").to_owned();
            assert!(jobs.insert(id, job.clone()).is_none(), "a page showed a job twice");
        }
        match page.json["next_cursor"].as_str() {
            Some(cursor) => call = format!("/jobs?limit=500&cursor={cursor}"),
            None => return jobs,
        }
    }
}

/// Asserts that each of these succeeded once; returns how often they were claimed, all in all.
async fn succeeded_once(http: Http, ids: Vec<String>) -> usize {
    let mut claims = 0;
    for id in ids {
        let history = http.history(&id).await;
        let count = |what: &str| history.iter().filter(|entry| *entry == what).count();
        assert_eq!((count("created"), count("succeeded"), count("failed")), (1, 1, 0), "{id}: {history:?}");
        claims += count("claimed");
    }
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_job_succeeds_once_whatever_is_killed() {
    let _turn = turn().await;
    let rabbit = PrivateRabbit::start().await.expect("a RabbitMQ");
    let mut fleet = fleet().start(World::with_rabbit(&rabbit)).await.expect("a fleet");
    let (http, load) = (fleet.http(), Arc::new(Load::default()));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(submit_all(fleet.http(), load.clone()));
    }

    load.reaches(JOBS / 5).await;
    fleet.process(Kind::Worker, 0).kill().await.expect("killed");
    load.reaches(2 * JOBS / 5).await;
    let api_killed = Instant::now();
    fleet.process(Kind::Api, 0).kill().await.expect("killed");
    load.reaches(JOBS / 2).await;
    let leader = fleet.leader().await.expect("a leader");
    fleet.process(Kind::Scheduler, leader).kill().await.expect("killed");
    let (restarted, before) = (Instant::now(), load.accepted.load(Ordering::Relaxed));
    rabbit.restart().await.expect("RabbitMQ again");
    let (restart, meanwhile) = (restarted.elapsed(), load.accepted.load(Ordering::Relaxed) - before);

    let accepted: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    let submitted = began.elapsed();
    assert_eq!(accepted.len(), JOBS);
    assert!(meanwhile > 0, "submissions go on without RabbitMQ");
    let repeated = load.repeated.lock().expect("no client panicked").clone();
    for (at, why) in &repeated {
        let since = at.checked_duration_since(api_killed);
        assert!(since.is_some_and(|since| since < Duration::from_secs(5)), "not by the killed replica: {why}");
    }

    loop {
        let counts = counts(&http).await;
        if ended(&counts) == JOBS as u64 {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "not everything has ended: {counts}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let done = began.elapsed();
    let jobs = all_jobs(&http).await;
    assert_eq!(jobs.len(), JOBS, "one job for each key");
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &accepted {
        let job = jobs.get(id).unwrap_or_else(|| panic!("{id} was accepted and is missing"));
        *states.entry(job["state"].as_str().expect("a state")).or_default() += 1;
    }
    assert_eq!(states, BTreeMap::from([("succeeded", JOBS)]));
    assert!(http.get("/dead-letters").await.expect(200).items().is_empty());
    let mut reading = JoinSet::new();
    for ids in accepted.chunks(JOBS / CLIENTS) {
        reading.spawn(succeeded_once(fleet.http(), ids.to_vec()));
    }
    let claims: usize = reading.join_all().await.into_iter().sum();
    println!(
        "{JOBS} jobs of {CLIENTS} clients: accepted within {submitted:.1?}, done within {done:.1?}; a worker, a replica \
         and the leader killed; RabbitMQ restarted within {restart:.1?}, meanwhile {meanwhile} accepted; \
         {} requests repeated; {} runs cut short; 0 missing, 0 doubled, 0 dead letters",
        repeated.len(),
        claims - JOBS,
    );
}
