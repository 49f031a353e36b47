//! Submit: from a request to a durable job. The answer comes after the store's; the bell is rung right after.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gristmill_common::{
    Body, JobId, QueueName, State, Tenant, Timestamp,
    http::{FieldError, JobRequest},
    job::{Job, JobKey, NewJob, Priority},
};
use gristmill_storage::{Inserted, StoreError};
use sha2::{Digest, Sha256};

use crate::{Engine, EngineError, catalogue::JobType, to_the_end};

/// How long a submitter that will ring the bell itself keeps the leader from doing so.
pub(crate) const RING_GRACE: Duration = Duration::from_secs(5);
/// The most attempts that a submission may ask for.
const MOST_ATTEMPTS: u32 = 1_000;
/// The longest time that one attempt may take: a week.
const LONGEST_TIMEOUT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The longest delay: ten years.
const LONGEST_DELAY_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1_000;
/// How long ago a time may be that is meant to be now: the clocks of clients differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 64;

/// Where a submission comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Whose job it will be.
    pub tenant: Tenant,
    /// Makes the same submission, sent again, the same job.
    pub idempotency_key: Option<String>,
    /// The W3C `traceparent` of the request.
    pub trace: Option<String>,
}

impl Engine {
    /// Stores a job. When this returns, the job is durable. The same idempotency key and request, sent again,
    /// return the job as it is now.
    ///
    /// # Errors
    /// The request makes no sense, names an unknown type or queue, or reuses a key; or the store failed. After
    /// [`gristmill_storage::StoreError::Unavailable`] the job may have been stored all the same.
    pub async fn submit(&self, origin: Origin, request: JobRequest) -> Result<Job, EngineError> {
        let mut outcomes = self.submit_all(&origin, vec![(None, request)]).await;
        outcomes.pop().unwrap_or_else(no_outcome)
    }

    /// Stores many jobs in one write, each with its place in the batch and an outcome of its own, in the order
    /// given. With an idempotency key, the place is part of each item's key.
    pub async fn submit_batch(
        &self,
        origin: Origin,
        requests: Vec<(u32, JobRequest)>,
    ) -> Vec<Result<Job, EngineError>> {
        let placed = requests.into_iter().map(|(place, request)| (Some(place), request)).collect();
        self.submit_all(&origin, placed).await
    }

    async fn submit_all(
        &self,
        origin: &Origin,
        requests: Vec<(Option<u32>, JobRequest)>,
    ) -> Vec<Result<Job, EngineError>> {
        let came = Instant::now();
        let mut drafts = Vec::with_capacity(requests.len());
        for (place, request) in requests {
            drafts.push(self.checked(origin, job_id(origin, place), request, came).await);
        }
        let engine = self.clone();
        to_the_end(async move { engine.store_drafts(drafts).await }).await
    }

    /// Checks a request. One that was accepted before is not judged again: what was true then may not be now.
    async fn checked(
        &self,
        origin: &Origin,
        id: JobId,
        request: JobRequest,
        came: Instant,
    ) -> Result<Checked, EngineError> {
        let fingerprint = origin.idempotency_key.is_some().then(|| fingerprint(&request));
        let error = match self.draft_with_payload(origin, id, request, came).await {
            Ok((job, payload)) => return Ok(Checked::New(job, payload)),
            Err(error) => error,
        };
        if fingerprint.is_none() {
            return Err(error);
        }
        let key = JobKey { tenant: origin.tenant.clone(), id };
        let before = self.store().get(&key).await?.map(|found| found.job);
        before.filter(|job| job.fingerprint == fingerprint).map(Checked::Known).ok_or(error)
    }

    async fn draft_with_payload(
        &self,
        origin: &Origin,
        id: JobId,
        request: JobRequest,
        came: Instant,
    ) -> Result<(Job, Bytes), EngineError> {
        let draft = self.draft(origin, id, &request, came).await?;
        let payload = request.payload.map_or(Bytes::from_static(b"{}"), payload_bytes);
        draft.job_type.check(&payload, "/payload")?;
        Ok((draft.job, payload))
    }

    async fn store_drafts(&self, drafts: Vec<Result<Checked, EngineError>>) -> Vec<Result<Job, EngineError>> {
        let mut outcomes = Vec::with_capacity(drafts.len());
        let mut new = Vec::with_capacity(drafts.len());
        for draft in drafts {
            outcomes.push(match draft {
                Ok(Checked::New(job, payload)) => match self.keep_body(&job.key, payload).await {
                    Ok(payload) => {
                        new.push(NewJob { job, payload, text: None });
                        None
                    }
                    Err(error) => Some(Err(error)),
                },
                Ok(Checked::Known(job)) => Some(Ok(job)),
                Err(error) => Some(Err(error)),
            });
        }
        let mut stored = self.insert(new).await.into_iter();
        outcomes.into_iter().map(|outcome| outcome.or_else(|| stored.next()).unwrap_or_else(no_outcome)).collect()
    }

    /// Stores new jobs and rings the bell for those that may run at once. One outcome for each.
    pub(crate) async fn insert(&self, new: Vec<NewJob>) -> Vec<Result<Job, EngineError>> {
        if new.is_empty() {
            return Vec::new();
        }
        let jobs: Vec<Job> = new.iter().map(|new| new.job.clone()).collect();
        let bodies: Vec<Vec<Body>> =
            new.iter().map(|new| new.text.iter().chain([&new.payload]).cloned().collect()).collect();
        match self.store().insert(new).await {
            Ok(inserted) => {
                let mut outcomes = Vec::with_capacity(jobs.len());
                for ((job, inserted), bodies) in jobs.into_iter().zip(inserted).zip(bodies) {
                    outcomes.push(match inserted {
                        Inserted::Created => {
                            metrics::counter!("gristmill_jobs_submitted_total").increment(1);
                            self.ring_for(&job);
                            Ok(job)
                        }
                        Inserted::Exists(existing) => {
                            self.drop_bodies(&bodies).await;
                            if existing.fingerprint == job.fingerprint {
                                Ok(existing)
                            } else {
                                Err(EngineError::IdempotencyKeyReused)
                            }
                        }
                    });
                }
                outcomes
            }
            Err(error) => {
                // After an ambiguous reply a stored job may need its blobs: they are left to the collector.
                if !matches!(error, StoreError::Unavailable(_)) {
                    self.drop_bodies(&bodies.concat()).await;
                }
                jobs.iter().map(|_| Err(error.clone().into())).collect()
            }
        }
    }

    /// Checks everything but the payload, and makes the record. Another process may have declared the queue or
    /// announced the type just before the request came, so it is looked for once more before anybody is told that it
    /// is not there.
    pub(crate) async fn draft(
        &self,
        origin: &Origin,
        id: JobId,
        request: &JobRequest,
        came: Instant,
    ) -> Result<Draft, EngineError> {
        match self.draft_as_known(origin, id, request) {
            Err(EngineError::UnknownJobType(_) | EngineError::UnknownQueue(_)) => {
                self.look_again(came).await?;
                self.draft_as_known(origin, id, request)
            }
            outcome => outcome,
        }
    }

    fn draft_as_known(&self, origin: &Origin, id: JobId, request: &JobRequest) -> Result<Draft, EngineError> {
        let job_type = self.job_type(&request.job_type)?;
        let queue = self.declared_queue(request.queue.as_deref())?;
        let now = self.now();
        let defaults = job_type.record().defaults;
        let mut errors = Vec::new();
        check(request, now, &mut errors);
        if !errors.is_empty() {
            return Err(EngineError::Invalid(errors));
        }
        let run_at = request.run_at.or(request.delay_ms.map(|delay| now + Duration::from_millis(delay)));
        let priority = request.priority.unwrap_or_default();
        let later = run_at.filter(|&at| at > now);
        let (state, wake_at) = match later {
            Some(at) => (State::Scheduled, at),
            None if self.rings_itself(&queue, priority) => (State::Queued, now + RING_GRACE),
            None => (State::Queued, now),
        };
        let key = JobKey { tenant: origin.tenant.clone(), id };
        let job = Job {
            queue,
            priority,
            state,
            wake_at,
            max_attempts: request.max_attempts.unwrap_or(defaults.max_attempts),
            backoff: request.backoff.unwrap_or(defaults.backoff),
            timeout_ms: request.timeout_ms.unwrap_or(defaults.timeout_ms),
            deadline: request.deadline,
            run_at,
            tags: request.tags.clone(),
            trace: origin.trace.clone(),
            fingerprint: origin.idempotency_key.is_some().then(|| fingerprint(request)),
            ..Job::accepted(key, job_type.record().name.clone(), now)
        };
        Ok(Draft { job, job_type })
    }

    fn declared_queue(&self, name: Option<&str>) -> Result<QueueName, EngineError> {
        let Some(name) = name else { return Ok(QueueName::default()) };
        name.parse()
            .ok()
            .filter(|queue| self.0.board.has_queue(queue))
            .ok_or_else(|| EngineError::UnknownQueue(name.to_owned()))
    }
}

/// A record about to be stored, and its type.
pub(crate) struct Draft {
    pub(crate) job: Job,
    pub(crate) job_type: JobType,
}

/// A request that may be stored, or that was stored before.
#[allow(clippy::large_enum_variant, reason = "one for each request, moved twice")]
enum Checked {
    New(Job, Bytes),
    Known(Job),
}

/// A store gives an outcome for each job.
pub(crate) fn no_outcome() -> Result<Job, EngineError> {
    Err(StoreError::Corrupt("the store gave fewer outcomes than it was given jobs".into()).into())
}

/// The id of a submission: of its idempotency key, or fresh.
pub(crate) fn job_id(origin: &Origin, place_in_batch: Option<u32>) -> JobId {
    match &origin.idempotency_key {
        Some(key) => JobId::from_idempotency_key(origin.tenant.as_str(), key, place_in_batch),
        None => JobId::fresh(),
    }
}

/// The payload as it was sent.
pub(crate) fn payload_bytes(payload: Box<serde_json::value::RawValue>) -> Bytes {
    Bytes::from(Box::<str>::from(payload).into_string())
}

fn check(request: &JobRequest, now: Timestamp, errors: &mut Vec<FieldError>) {
    let mut wrong = |pointer: &str, detail: &str| errors.push(FieldError::new(pointer, detail));
    if request.run_at.is_some() && request.delay_ms.is_some() {
        wrong("/delay_ms", "must not be sent together with run_at");
    }
    if request.delay_ms.is_some_and(|delay| delay > LONGEST_DELAY_MS) {
        wrong("/delay_ms", "must be at most ten years");
    }
    if request.run_at.is_some_and(|at| at.since(now).as_millis() > u128::from(LONGEST_DELAY_MS)) {
        wrong("/run_at", "must be at most ten years ahead");
    }
    if request.run_at.is_some_and(|at| now.since(at) > CLOCKS_DIFFER) {
        wrong("/run_at", "has passed");
    }
    if request.deadline.is_some_and(|deadline| deadline <= now) {
        wrong("/deadline", "has passed");
    }
    if request.max_attempts.is_some_and(|attempts| !(1..=MOST_ATTEMPTS).contains(&attempts)) {
        wrong("/max_attempts", "must be between 1 and 1000");
    }
    if request.timeout_ms.is_some_and(|timeout| !(1..=LONGEST_TIMEOUT_MS).contains(&timeout)) {
        wrong("/timeout_ms", "must be between 1 and a week");
    }
    if let Some(Err((field, detail))) = request.backoff.map(|backoff| backoff.check()) {
        wrong(&format!("/backoff/{field}"), detail);
    }
    if request.tags.len() > MOST_TAGS {
        wrong("/tags", "must be at most 16");
    }
    for (place, tag) in request.tags.iter().enumerate() {
        if !(1..=LONGEST_TAG).contains(&tag.len()) || tag.chars().any(char::is_control) {
            wrong(&format!("/tags/{place}"), "must be 1 to 64 bytes without control characters");
        }
    }
}

/// SHA-256 over everything that makes two requests the same, each part with its length. It is kept with the job:
/// another way to compute it would make strangers of requests that an older build has stored.
fn fingerprint(request: &JobRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(request.job_type.as_bytes());
    part(request.payload.as_ref().map_or("", |payload| payload.get()).as_bytes());
    part(request.queue.as_deref().unwrap_or("").as_bytes());
    part(request.priority.map_or("", Priority::as_str).as_bytes());
    let moment = |at: Option<Timestamp>| at.map(Timestamp::as_millis).unwrap_or(i64::MIN).to_be_bytes();
    part(&moment(request.run_at));
    part(&moment(request.deadline));
    part(&request.delay_ms.unwrap_or(u64::MAX).to_be_bytes());
    part(&request.max_attempts.unwrap_or(u32::MAX).to_be_bytes());
    part(&request.timeout_ms.unwrap_or(u64::MAX).to_be_bytes());
    part(&request.backoff.and_then(|backoff| serde_json::to_vec(&backoff).ok()).unwrap_or_default());
    for tag in &request.tags {
        part(tag.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_of_a_request_is_pinned() {
        let request = serde_json::from_str(
            r#"{"type": "sleep", "payload": {"ms": 1}, "queue": "q", "priority": "high", "delay_ms": 5,
                "max_attempts": 2, "backoff": {"kind": "fixed", "delay_ms": 7}, "timeout_ms": 9,
                "deadline": "2026-11-21T08:00:00Z", "tags": ["a", "b"]}"#,
        )
        .expect("a request");
        let hex: String = fingerprint(&request).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0f258fd0b214f99f97dbcc426b5f9b3af5b51c6196d814e95d34975bb84eb36d");
    }
}
