//! The load of a schedule: clients that send each job again, with the same key, until somebody accepts it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{JobId, State, Tenant, http::JobRequest, job::JobKey, schedule::ScheduleRecord};
use gristmill_engine::{Engine, EngineError, Origin};
use serde_json::json;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::{
    draft::Draft,
    plan::{CronPlan, Plan},
    slot::Slot,
};
use crate::{
    oracle::{Accepted, Promise, Submission},
    witness::Part,
};

/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long the schedule may take to be put, and to be deleted.
const DONE_WITHIN: Duration = Duration::from_secs(150);
/// It has caught up when it is no further behind than this.
const IN_TIME: Duration = Duration::from_secs(2);
/// What it is called: the oracle knows its jobs by that.
const SCHEDULE: &str = "tick";
/// How soon it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(15);

/// A load under way.
pub(crate) struct Load {
    clients: JoinSet<()>,
    /// Puts the schedule.
    scheduling: Option<JoinHandle<()>>,
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
        let scheduling = plan.cron.map(|cron| {
            let shared = shared.clone();
            tokio::spawn(async move { shared.schedule(cron).await })
        });
        for (number, draft) in plan.drafts.iter().cloned().enumerate() {
            let shared = shared.clone();
            clients.spawn(async move {
                tokio::time::sleep_until((began + draft.at).into()).await;
                shared.see_through(number, &draft).await;
            });
        }
        Self { clients, scheduling, shared }
    }

    /// Takes the schedule away, if there is one.
    pub(crate) async fn unschedule(&mut self) {
        if let Some(scheduling) = self.scheduling.take() {
            let _ = scheduling.await;
            self.shared.unschedule().await;
        }
    }

    /// What was accepted, and what went wrong with that, when every client has had its answer.
    pub(crate) async fn accepted_within(mut self, patience: Duration) -> (Accepted, Vec<String>) {
        let all = async { while self.clients.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.shared.over.send_replace(true);
            while self.clients.join_next().await.is_some() {}
        }
        self.unschedule().await;
        let take = |complaints: &Mutex<Vec<String>>| {
            std::mem::take(&mut *complaints.lock().unwrap_or_else(PoisonError::into_inner))
        };
        (std::mem::take(&mut *self.shared.accepted()), take(&self.shared.complaints))
    }
}

impl Shared {
    /// A job, from its first submission to its cancellation.
    async fn see_through(&self, number: usize, draft: &Draft) {
        let own = JobKey { tenant: Tenant::default(), id: origin_id(&self.origin(number)) };
        let Some(key) = self.submit(number, draft, &own).await else { return };
        let is_own = key == own;
        let before = self.accepted().surely.insert(key.clone(), draft.promise);
        // Only those that share a key may have one answer.
        let is_anothers = before.is_some_and(|before| before.group.is_none() || before.group != draft.promise.group);
        if is_anothers || (!is_own && !draft.may_be_another) {
            self.complain(format!("{} was the answer to another submission", key.id));
        }
        if !is_own {
            // It may have been there for a moment, or somebody has marked its place as abandoned.
            self.accepted().perhaps.insert(own, may_be_cancelled(draft.promise));
        }
        if let Some(pause) = draft.cancelled_after {
            tokio::time::sleep(pause).await;
            self.cancel(&key).await;
        }
    }

    fn origin(&self, number: usize) -> Origin {
        Origin { idempotency_key: Some(format!("{}-{number}", self.seed)), ..Origin::default() }
    }

    /// Submits a job until it is accepted.
    async fn submit(&self, number: usize, draft: &Draft, own: &JobKey) -> Option<JobKey> {
        let origin = self.origin(number);
        let mut body = draft.request.clone();
        body["payload"]["mark"] = json!(number);
        let (sent, mut is_over) = (Instant::now(), true);
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
                        Err(error) => Err(EngineError::UnknownJobType(format!("it is no request: {error}"))),
                    }
                }
            });
            match asked.await {
                Some(Ok(key)) => {
                    self.accepted().submissions.extend(draft.promise.group.map(|group| Submission {
                        job: key.clone(),
                        is_own: key == *own,
                        group,
                        mark: number as u64,
                        sent,
                        answered: Instant::now(),
                        is_over,
                    }));
                    return Some(key);
                }
                // The deadline passed before anybody was told that it was accepted. Perhaps it was.
                Some(Err(EngineError::Invalid(_))) if draft.deadline.is_some() => {
                    self.accepted().perhaps.insert(own.clone(), draft.promise);
                    return None;
                }
                // Another holds its key. Whoever came after may have marked its place as abandoned.
                Some(Err(EngineError::UniqueConflict(_) | EngineError::Overtaken { .. })) => {
                    self.accepted().perhaps.insert(own.clone(), may_be_cancelled(draft.promise));
                    return None;
                }
                Some(Err(error)) if !may_pass(&error) => {
                    self.complain(format!("submission {number} was refused: {error}: {body}"));
                    return None;
                }
                Some(Err(_)) => {}
                // Its node is gone, or so slow that this may come to something yet.
                None => is_over = false,
            }
            if !self.goes_on().await {
                self.complain(format!("submission {number} was never accepted"));
                return None;
            }
        }
    }

    /// Puts a schedule that fires each second, until that is answered.
    async fn schedule(&self, cron: CronPlan) {
        let CronPlan { missed, overlap, ms, .. } = cron;
        let job = json!({"type": "act", "payload": Part { ms, ..Part::default() }});
        let body = json!({"cron": "* * * * * *", "missed": missed, "overlap": overlap, "job": job});
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

    /// Deletes the schedule once it has caught up with the clock, and remembers how far it was.
    async fn unschedule(&self) {
        let seen: Arc<Mutex<Option<ScheduleRecord>>> = Arc::default();
        self.until_done("the schedule was never deleted", |engine| {
            let seen = seen.clone();
            async move {
                let (tenant, name) = (Tenant::default(), SCHEDULE.parse().ok()?);
                match engine.schedule(&tenant, &name).await {
                    Ok(status) if status.record.fired_through + IN_TIME < engine.clock().now() => return None,
                    Ok(status) => *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.record),
                    Err(EngineError::NoSuchSchedule) => return Some(()),
                    Err(_) => return None,
                }
                match engine.delete_schedule(&tenant, &name).await {
                    Ok(()) | Err(EngineError::NoSuchSchedule) => Some(()),
                    Err(_) => None,
                }
            }
        })
        .await;
        self.accepted().schedule = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
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

/// What is promised of a job that others may have seen as abandoned.
fn may_be_cancelled(promise: Promise) -> Promise {
    Promise { ends: &[State::Succeeded, State::Cancelled], ..promise }
}

/// Whether the same question may have another answer later.
fn may_pass(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(_) | EngineError::Broker(_))
}
