//! The bad days of a fleet: processes killed, servers that go away, come back, forget, or were never there. Each test
//! has a fleet of its own, and what hurts RabbitMQ, a node of its own. One after the other: each needs the machine.

mod breakers;
mod by_hand;
mod kills;
mod purge;
mod start;
mod stop;
mod trace;
mod window;
mod wrong;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use gristmill_common::job::Priority;
use gristmill_testkit::{FleetBuilder, Http, Process, eventually};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test of this program runs.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Two of each kind.
pub(crate) fn fleet() -> FleetBuilder {
    FleetBuilder::new(env!("CARGO_BIN_EXE_gristmill"))
}

/// How many jobs there are in each state.
pub(crate) async fn counts(http: &Http) -> Value {
    http.get("/stats").await.expect(200).json["counts"].take()
}

/// How many jobs have ended, of a count by state.
pub(crate) fn ended(counts: &Value) -> u64 {
    ["succeeded", "failed", "cancelled"].iter().filter_map(|state| counts[state].as_u64()).sum()
}

/// Waits until this many jobs have ended; returns the time from `since` until the first was seen to have.
pub(crate) async fn all_end(http: &Http, jobs: u64, since: Instant, patience: Duration) -> Duration {
    let mut first = None;
    loop {
        let counts = counts(http).await;
        if ended(&counts) > 0 {
            first.get_or_insert_with(|| since.elapsed());
        }
        match first {
            Some(first) if ended(&counts) >= jobs => return first,
            _ => assert!(since.elapsed() < patience, "not within {patience:?}: {counts}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a program warned of, or worse.
pub(crate) struct Complaints(Vec<Value>);

impl Complaints {
    /// More lines than this, within seconds, are a flood.
    const MOST: usize = 20;

    /// Those in the log of this program, which are no flood.
    #[track_caller]
    pub(crate) fn of(program: &Process) -> Self {
        let log = program.log();
        let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = lines.filter(|line| matches!(line["level"].as_str(), Some("WARN" | "ERROR"))).collect();
        assert!(lines.len() <= Self::MOST, "a flood of {}: {lines:#?}", lines.len());
        Self(lines)
    }

    /// Waits until this crate has complained.
    pub(crate) async fn come(program: &Process, name: &str) {
        eventually("the program says what is wrong", || async {
            Self::of(program).lines_of(name).next().is_some().then_some(())
        })
        .await;
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Nothing was said again and again. What is said of a queue may be said of each of its bands.
    #[track_caller]
    pub(crate) fn none_is_repeated(&self) {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for mut line in self.0.iter().cloned() {
            line["timestamp"] = Value::Null;
            *times.entry(line.to_string()).or_default() += 1;
        }
        times.retain(|_, times| *times > Priority::ALL.len());
        assert!(times.is_empty(), "said again and again: {times:#?}");
    }

    /// The one line of this crate.
    #[track_caller]
    pub(crate) fn line_of(&self, name: &str) -> String {
        let lines: Vec<String> = self.lines_of(name).map(ToString::to_string).collect();
        assert_eq!(lines.len(), 1, "{name} says it once: {:#?}", self.0);
        lines.concat()
    }

    fn lines_of(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |line| line["target"].as_str().is_some_and(|target| target.starts_with(name)))
    }
}
