//! The load of a schedule: clients that send each job again, with the same key, until somebody accepts it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{JobId, State, Tenant, http::JobRequest, job::JobKey};
use gristmill_engine::{Engine, EngineError, Origin};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{
    plan::{Draft, Plan},
    slot::Slot,
};
use crate::{
    oracle::{Accepted, Promise},
    witness::Part,
};

/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long the schedule may take to be put, and to be deleted.
const DONE_WITHIN: Duration = Duration::from_secs(60);
/// What it is called: the oracle knows its jobs by that.
const SCHEDULE: &str = "tick";
/// How soon it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(15);

/// A load under way.
pub(crate) struct Load {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    seed: u64,
    slots: Arc<Vec<Slot>>,
    accepted: Mutex<Accepted>,
    complaints: Mutex<Vec<String>>,
    /// Nobody waits any longer.
    over: watch::Sender<bool>,
}

impl Load {
    /// Starts it: each job comes at its time.
    pub(crate) fn start(plan: &Plan, slots: Arc<Vec<Slot>>) -> Self {
        let (accepted, complaints) = Default::default();
        let shared = Arc::new(Shared { seed: plan.seed, slots, accepted, complaints, over: watch::Sender::new(false) });
        let began = Instant::now();
        let mut clients = JoinSet::new();
        if let Some(missed) = plan.missed {
            let shared = shared.clone();
            clients.spawn(async move { shared.schedule(missed).await });
        }
        for (number, draft) in plan.drafts.iter().cloned().enumerate() {
            let shared = shared.clone();
            clients.spawn(async move {
                tokio::time::sleep_until((began + draft.at).into()).await;
                shared.see_through(number, &draft).await;
            });
        }
        Self { clients, shared }
    }

    /// What was accepted, and what went wrong with that, when every client has had its answer.
    pub(crate) async fn accepted_within(mut self, patience: Duration) -> (Accepted, Vec<String>) {
        let all = async { while self.clients.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.shared.over.send_replace(true);
            while self.clients.join_next().await.is_some() {}
        }
        self.shared.unschedule().await;
        let take = |complaints: &Mutex<Vec<String>>| {
            std::mem::take(&mut *complaints.lock().unwrap_or_else(PoisonError::into_inner))
        };
        (std::mem::take(&mut *self.shared.accepted()), take(&self.shared.complaints))
    }
}

impl Shared {
    /// A job, from its first submission to its cancellation.
    async fn see_through(&self, number: usize, draft: &Draft) {
        let Some(key) = self.submit(number, draft).await else { return };
        let before = self.accepted().surely.insert(key.clone(), draft.promise);
        if before.is_some() {
            self.complain(format!("{} was given to two submissions", key.id));
        }
        if let Some(pause) = draft.cancelled_after {
            tokio::time::sleep(pause).await;
            self.cancel(&key).await;
        }
    }

    /// Submits a job until it is accepted.
    async fn submit(&self, number: usize, draft: &Draft) -> Option<JobKey> {
        let origin = Origin { idempotency_key: Some(format!("{}-{number}", self.seed)), ..Origin::default() };
        let mut body = draft.request.clone();
        loop {
            let asked = self.ask(number, |engine| {
                if let (Some(time), None) = (draft.deadline, body.get("deadline")) {
                    // Said once: sent again, it must be the same request.
                    body["deadline"] = json!(engine.now() + time);
                }
                let request: Result<JobRequest, _> = serde_json::from_value(body.clone());
                let origin = origin.clone();
                async move {
                    match request {
                        Ok(request) => engine.engine.submit(origin, request).await.map(|job| job.key),
                        Err(_) => Err(EngineError::UnknownJobType("it is no request".into())),
                    }
                }
            });
            match asked.await {
                Some(Ok(key)) => return Some(key),
                // The deadline passed before anybody was told that it was accepted. Perhaps it was.
                Some(Err(EngineError::Invalid(_))) if draft.deadline.is_some() => {
                    let key = JobKey { id: origin_id(&origin), tenant: origin.tenant };
                    self.accepted().perhaps.insert(key, draft.promise);
                    return None;
                }
                // Another holds its key. Whoever came after may have marked its place as abandoned.
                Some(Err(EngineError::UniqueConflict(_))) => {
                    let key = JobKey { id: origin_id(&origin), tenant: origin.tenant };
                    let promise = Promise { ends: &[State::Succeeded, State::Cancelled], ..draft.promise };
                    self.accepted().perhaps.insert(key, promise);
                    return None;
                }
                Some(Err(error)) if !may_pass(&error) => {
                    self.complain(format!("submission {number} was refused: {error}: {body}"));
                    return None;
                }
                Some(Err(_)) | None => {}
            }
            if !self.goes_on().await {
                self.complain(format!("submission {number} was never accepted"));
                return None;
            }
        }
    }

    /// Puts a schedule that fires each second, until that is answered.
    async fn schedule(&self, missed: &str) {
        let body = json!({"cron": "* * * * * *", "missed": missed, "job": {"type": "act", "payload": Part::default()}});
        self.until_done("the schedule was never taken", |engine| {
            let body = body.clone();
            async move {
                let request = serde_json::from_value(body).ok()?;
                let name = SCHEDULE.parse().ok()?;
                engine.put_schedule(&Tenant::default(), &name, request).await.ok().map(drop)
            }
        })
        .await;
    }

    /// Deletes the schedule, if there is one, until that is answered.
    async fn unschedule(&self) {
        self.until_done("the schedule was never deleted", |engine| async move {
            let name = SCHEDULE.parse().ok()?;
            match engine.delete_schedule(&Tenant::default(), &name).await {
                Ok(()) | Err(EngineError::NoSuchSchedule) => Some(()),
                Err(_) => None,
            }
        })
        .await;
    }

    async fn until_done<F: Future<Output = Option<()>> + Send + 'static>(
        &self,
        or_else: &str,
        question: impl Fn(Engine) -> F,
    ) {
        let asked = Instant::now();
        while self.ask(0, |asked| question(asked.engine)).await.flatten().is_none() {
            if asked.elapsed() > DONE_WITHIN || !self.goes_on().await {
                return self.complain(or_else.to_owned());
            }
        }
    }

    /// Cancels a job until that is answered.
    async fn cancel(&self, key: &JobKey) {
        loop {
            let asked = self.ask(0, |engine| {
                let key = key.clone();
                async move { engine.engine.cancel(&key).await.map(drop) }
            });
            match asked.await {
                // Or it has ended.
                Some(Ok(()) | Err(EngineError::Conflict { .. })) => return,
                Some(Err(error)) if !may_pass(&error) => {
                    return self.complain(format!("{} was accepted, and cannot be cancelled: {error}", key.id));
                }
                Some(Err(_)) | None => {}
            }
            if !self.goes_on().await {
                return self.complain(format!("{}: its cancellation was never answered", key.id));
            }
        }
    }

    /// Asks a node, on its own threads: a question ends with whoever was asked. `None` if there was no answer.
    async fn ask<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        number: usize,
        question: impl FnOnce(Asked) -> F,
    ) -> Option<T> {
        let start = number + fastrand::usize(0..self.slots.len());
        let places = (0..self.slots.len()).map(|place| &self.slots[(start + place) % self.slots.len()]);
        let (engine, runtime) = places.into_iter().find_map(Slot::engine)?;
        let asked = runtime.spawn(question(Asked { engine }));
        tokio::time::timeout(ANSWERED_WITHIN, asked).await.ok()?.ok()
    }

    async fn goes_on(&self) -> bool {
        tokio::time::sleep(ASK_AGAIN).await;
        !*self.over.borrow()
    }

    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, complaint: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
    }
}

struct Asked {
    engine: Engine,
}

impl Asked {
    fn now(&self) -> gristmill_common::Timestamp {
        self.engine.clock().now()
    }
}

fn origin_id(origin: &Origin) -> JobId {
    let key = origin.idempotency_key.as_deref().unwrap_or_default();
    JobId::from_idempotency_key(origin.tenant.as_str(), key, None)
}

/// Whether the same question may have another answer later.
fn may_pass(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(_) | EngineError::Broker(_))
}
