//! Whether the process can do its work: a set of named checks.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use gristmill_common::breaker::{Reading, State};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

use super::breakers::Breakers;

/// A check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a check that fails means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// No work should be sent here.
    Needed,
    /// Something is amiss, and the work goes on all the same.
    Shown,
}

type Pending = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Named checks, and which of them must pass. Clones share them.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<Check>,
    breakers: Breakers,
}

#[derive(Clone)]
struct Check {
    name: &'static str,
    weight: Weight,
    run: Arc<dyn Fn() -> Pending + Send + Sync>,
    /// Held while the check runs: however many ask, a backend that hangs has one check hanging on it.
    turn: Arc<Mutex<()>>,
}

/// How the checks came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// All of them together, but for those that are only shown.
    pub status: Status,
    /// Each check by its name.
    pub checks: BTreeMap<String, CheckResult>,
    /// How each breaker stands, by its name. They are shown, and not judged: a check asks what they guard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakers: BTreeMap<String, State>,
}

/// Whether work should be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All checks that must pass did.
    Ready,
    /// At least one of them did not.
    Unready,
}

/// How one check came out. The reason of a failure is logged, not shown: anybody may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CheckResult {
    /// It passed.
    Ok,
    /// It failed.
    Failed,
    /// It took longer than 2 seconds.
    TimedOut,
}

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
enum CheckFailed {
    /// It said so.
    #[error("{0}")]
    Refused(String),
    /// It panicked, or its runtime is stopping.
    #[error("the check broke off")]
    BrokeOff,
    /// It took too long.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

impl Readiness {
    /// No checks: always ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more check, such as a ping of the store.
    #[must_use]
    pub fn with<F, E>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.and(name, Weight::Needed, check)
    }

    /// With one more check that is shown, but need not pass: a part that the process can do without for a while.
    #[must_use]
    pub fn showing<F, E>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        self.and(name, Weight::Shown, check)
    }

    /// With a breaker to show.
    #[must_use]
    pub fn breaker(mut self, name: &'static str, read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        self.breakers.add(name, read);
        self
    }

    /// Keeps the metrics of the breakers up to date until `shutdown`.
    pub async fn measure(self, shutdown: CancellationToken) {
        self.breakers.measure(shutdown).await;
    }

    fn and<F, E>(mut self, name: &'static str, weight: Weight, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        let run = move || -> Pending {
            let pending = check();
            Box::pin(async move { pending.await.map_err(|error| error.to_string()) })
        };
        self.checks.push(Check { name, weight, run: Arc::new(run), turn: Arc::default() });
        self
    }

    /// Runs all checks at once.
    pub async fn report(&self) -> Report {
        let running: Vec<_> = self.checks.iter().map(|check| (check, tokio::spawn(check.clone().result()))).collect();
        let mut checks = BTreeMap::new();
        let mut status = Status::Ready;
        for (check, result) in running {
            let result = result.await.unwrap_or(CheckResult::Failed);
            if check.weight == Weight::Needed && result != CheckResult::Ok {
                status = Status::Unready;
            }
            checks.insert(check.name.to_owned(), result);
        }
        Report { status, checks, breakers: self.breakers.states().collect() }
    }
}

impl Report {
    /// Whether all checks that must pass did.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == Status::Ready
    }
}

impl Check {
    async fn result(self) -> CheckResult {
        let name = self.name;
        let Err(failure) = timeout(PATIENCE, self.outcome()).await.unwrap_or(Err(CheckFailed::TimedOut)) else {
            return CheckResult::Ok;
        };
        tracing::warn!(check.name = name, error = %failure, "not ready");
        match failure {
            CheckFailed::TimedOut => CheckResult::TimedOut,
            CheckFailed::Refused(_) | CheckFailed::BrokeOff => CheckResult::Failed,
        }
    }

    /// The check runs in a task of its own, to its end, even when nobody waits any longer: some drivers must
    /// not be dropped midway.
    async fn outcome(self) -> Result<(), CheckFailed> {
        let turn = self.turn.lock_owned().await;
        let pending = (self.run)();
        let task = tokio::spawn(async move {
            let _turn = turn;
            pending.await
        });
        task.await.map_err(|_| CheckFailed::BrokeOff)?.map_err(CheckFailed::Refused)
    }
}
