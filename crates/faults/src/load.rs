//! A load through HTTP: clients that send each job again, with the same key, until it is answered with 202.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use gristmill_common::{JobId, State, Tenant, job::JobKey};
use gristmill_testkit::{Answer, Http};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    fleet::{LOOK_EVERY, PATIENCE},
    oracle::{Accepted, Promise},
};

const CLIENTS: usize = 8;
/// How long each client waits between two jobs.
const PAUSE: Duration = Duration::from_millis(120);
/// How soon a submission is sent again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
/// How often a submission is sent again in the end.
const TRIES: u32 = 1_000;

/// A load under way.
pub(crate) struct Load {
    clients: JoinSet<()>,
    over: CancellationToken,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    number: AtomicUsize,
    accepted: Mutex<Accepted>,
    complaints: Mutex<Vec<String>>,
    /// Every other answer, and how often it came.
    refusals: Mutex<BTreeMap<String, u64>>,
}

impl Load {
    /// Starts it. Jobs take up to `longest_ms`.
    pub(crate) fn start(http: &Http, longest_ms: u64) -> Self {
        let (shared, over) = (Arc::new(Shared::default()), CancellationToken::new());
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (http, shared, over) = (http.clone(), shared.clone(), over.clone());
            clients.spawn(async move {
                while !over.is_cancelled() {
                    shared.submit(&http, longest_ms).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { clients, over, shared }
    }

    /// How many were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.number.load(Ordering::Relaxed)
    }

    /// Waits until this many were accepted.
    ///
    /// # Errors
    /// They were not in time.
    pub(crate) async fn reaches(&self, number: usize) -> anyhow::Result<()> {
        let asked = Instant::now();
        while self.accepted() < number {
            ensure!(asked.elapsed() < PATIENCE, "only {} of {number} jobs were accepted", self.accepted());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// What was answered but 202 since the last time that this was asked: `120 times 503 out_of_space`.
    pub(crate) fn refusals(&self) -> String {
        let refusals = std::mem::take(&mut *self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner));
        let told: Vec<String> = refusals.iter().map(|(answer, times)| format!("{times} times {answer}")).collect();
        if told.is_empty() { "no submission refused".to_owned() } else { told.join(", ") }
    }

    /// Ends it, when everything that was sent has been accepted: what was, and what went wrong with that.
    pub(crate) async fn end(mut self) -> (Accepted, Vec<String>) {
        self.over.cancel();
        while self.clients.join_next().await.is_some() {}
        let accepted = std::mem::take(&mut *self.shared.accepted.lock().unwrap_or_else(PoisonError::into_inner));
        let complaints = std::mem::take(&mut *self.shared.complaints.lock().unwrap_or_else(PoisonError::into_inner));
        (accepted, complaints)
    }
}

impl Shared {
    async fn submit(&self, http: &Http, longest_ms: u64) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (job, promise) = job_of(number, longest_ms);
        let mut last = String::new();
        for _ in 0..TRIES {
            let request = http.call(Method::POST, "/jobs").timeout(ANSWERED_WITHIN);
            let request = request.header("Idempotency-Key", format!("number-{number}")).json(&job);
            match Answer::try_of(request).await {
                Ok(answer) if answer.status == 202 => return self.accept(&answer, promise),
                Ok(answer) if (400..500).contains(&answer.status) && answer.status != 429 => {
                    return self.complain(format!("number {number} was refused: {}", answer.text));
                }
                Ok(answer) => {
                    self.refuse(format!("{} {}", answer.status, answer.json["code"].as_str().unwrap_or_default()));
                    last = answer.text;
                }
                Err(error) => {
                    self.refuse("no answer".to_owned());
                    last = error.to_string();
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.complain(format!("number {number} was never accepted: {last}"));
    }

    fn accept(&self, answer: &Answer, promise: Promise) {
        let Some(key) = key_in(answer) else { return self.complain(format!("no id: {}", answer.text)) };
        let id = key.id;
        let before = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).surely.insert(key, promise);
        self.number.fetch_add(1, Ordering::Relaxed);
        if before.is_some() {
            self.complain(format!("{id} was given to two submissions"));
        }
    }

    fn refuse(&self, answer: String) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).entry(answer).or_default() += 1;
    }

    fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }
}

/// The job that an answer tells of.
pub(crate) fn key_in(answer: &Answer) -> Option<JobKey> {
    let id = answer.json["id"].as_str()?.parse::<JobId>().ok()?;
    Some(JobKey { tenant: Tenant::default(), id })
}

fn job_of(number: u64, longest_ms: u64) -> (Value, Promise) {
    const FAILS: Promise = Promise::of(&[State::Failed], &["failed_on_purpose"]);
    let backoff = json!({"kind": "fixed", "delay_ms": 200});
    match number % 8 {
        0 => {
            let payload = json!({"message": "at first", "until_attempt": 3});
            (json!({"type": "fail", "payload": payload, "backoff": backoff}), Promise::SUCCEEDS)
        }
        1 => {
            let payload = json!({"message": "always"});
            (json!({"type": "fail", "payload": payload, "max_attempts": 2, "backoff": backoff}), FAILS)
        }
        2 => (json!({"type": "sleep", "payload": {"ms": 0}, "delay_ms": 300}), Promise::SUCCEEDS),
        3..6 => (json!({"type": "sleep", "payload": {"ms": number * 37 % longest_ms}}), Promise::SUCCEEDS),
        _ => (json!({"type": "sleep", "payload": {"ms": number % 20}, "priority": "high"}), Promise::SUCCEEDS),
    }
}
