//! The model walks at random, and a real store is asked what the model's store is asked: it must give the same answers
//! and have the same jobs after each step.

use std::{collections::BTreeMap, sync::Arc};

use futures::StreamExt;
use gristmill_common::{
    Timestamp,
    job::{Job, JobKey, NewJob},
};
use gristmill_model::{Call, Standing, Trace};
use gristmill_storage::{
    Claim, Inserted, Renewal, Store, Whom,
    conformance::{job, text},
};

/// The steps of one walk.
const STEPS: usize = 200;
/// How many walks go on at once: each is of jobs of its own, and so they share the store's round trips.
const AT_ONCE: usize = 32;

/// Which calls were made, by kind and answer, and how often.
type Tally = BTreeMap<&'static str, u64>;

/// Walks from each of so many seeds.
pub(crate) async fn all(store: Arc<dyn Store>, seeds: u64) {
    let walks =
        (0..seeds).map(|seed| {
            let store = Arc::clone(&store);
            async move {
                tokio::spawn(walk(store, seed)).await.unwrap_or_else(|_| panic!("the walk from seed {seed} failed"))
            }
        });
    let tallies: Vec<Tally> = futures::stream::iter(walks).buffer_unordered(AT_ONCE).collect().await;
    let mut total = Tally::new();
    for (what, count) in tallies.into_iter().flatten() {
        *total.entry(what).or_default() += count;
    }
    println!("{seeds} walks: {total:?}");
    // A walk that meets no refusal would prove little.
    for what in [
        "claims: all got",
        "claims: some refused",
        "changes: made",
        "changes: refused",
        "leases: held",
        "leases: stop requested",
        "leases: lost",
        "claims read back: held",
        "claims read back: not held",
    ] {
        assert!(total.contains_key(what), "no walk came across `{what}`");
    }
}

/// One walk. Its seed is in every message.
async fn walk(store: Arc<dyn Store>, seed: u64) -> Tally {
    let mut trace = Trace::new(seed);
    let jobs = Jobs { store, keys: [0, 1].map(|_| job(Timestamp::from_millis(0)).job.key) };
    let mut tally = Tally::new();
    for number in 0..STEPS {
        let Some(step) = trace.step() else { break };
        let place = format!("seed {seed}, step {number}, {}", step.action);
        for call in step.calls {
            let kind = jobs.make(call, &place).await;
            *tally.entry(kind).or_default() += 1;
        }
        *tally.entry("steps").or_default() += 1;
        let stored = jobs.store.jobs(&jobs.keys).await.expect("jobs");
        assert_eq!(trace.difference(&stored), None, "{place}");
        assert_eq!(trace.broken(), None, "{place}");
    }
    tally
}

/// The two jobs of a walk.
struct Jobs {
    store: Arc<dyn Store>,
    keys: [JobKey; 2],
}

impl Jobs {
    /// Makes a call, and checks its answer; says what kind of call it was.
    async fn make(&self, call: Call, place: &str) -> &'static str {
        let keys = |jobs: &[usize]| -> Vec<JobKey> { jobs.iter().map(|&job| self.keys[job].clone()).collect() };
        match call {
            Call::Insert { job, record } => {
                let history = Job::accepted(self.keys[job].clone(), record.job_type.clone(), record.created_at).history;
                let stored = Job { key: self.keys[job].clone(), version: 1, history, ..*record };
                let new = NewJob { job: stored, payload: text("{}"), text: None };
                let answers = self.store.insert(vec![new]).await.expect("an answer");
                assert!(matches!(answers[..], [Inserted::Created]), "{place}");
                "inserts"
            }
            Call::Claim { lease, worker, jobs, rescued, now, until, got } => {
                let whom = if rescued { Whom::Any } else { Whom::NeverRescued };
                let claim = Claim { keys: keys(&jobs), lease, worker, now, until, whom };
                let claimed = self.store.claim(claim).await.expect("an answer");
                let claimed: Vec<JobKey> = claimed.into_iter().map(|claimed| claimed.job.key).collect();
                assert_eq!(claimed, keys(&got), "{place}");
                if got == jobs { "claims: all got" } else { "claims: some refused" }
            }
            Call::Held { lease, jobs, got } => {
                let held = self.store.held(lease, &keys(&jobs)).await.expect("an answer");
                let held: Vec<JobKey> = held.into_iter().map(|held| held.job.key).collect();
                assert_eq!(held, keys(&got), "{place}");
                if got.is_empty() { "claims read back: not held" } else { "claims read back: held" }
            }
            Call::Renew { held, until, stand } => {
                let held: Vec<_> = held.into_iter().map(|(job, lease)| (self.keys[job].clone(), lease)).collect();
                let answers = self.store.renew(&held, until).await.expect("an answer");
                let told: Vec<Renewal> = stand.iter().map(|&standing| renewal(standing)).collect();
                assert_eq!(answers, told, "{place}");
                match stand.first() {
                    Some(Standing::Lost) => "leases: lost",
                    Some(Standing::StopRequested) => "leases: stop requested",
                    _ => "leases: held",
                }
            }
            Call::Apply { job, mut change, made } => {
                change.key = self.keys[job].clone();
                let answer = self.store.apply(vec![*change]).await.expect("an answer").remove(0);
                assert_eq!(answer.is_some(), made, "{place}");
                if made { "changes: made" } else { "changes: refused" }
            }
        }
    }
}

fn renewal(standing: Standing) -> Renewal {
    match standing {
        Standing::Held => Renewal::Held,
        Standing::StopRequested => Renewal::StopRequested,
        Standing::Lost => Renewal::Lost,
    }
}
