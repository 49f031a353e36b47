//! Submit: from a request to a durable job. The answer comes after the store's; the bell is rung right after.

use std::time::Duration;

use bytes::Bytes;
use gristmill_common::{
    Body, JobId, QueueName, State, Tenant, Timestamp,
    http::{FieldError, JobRequest},
    job::{History, HistoryEntry, Job, JobKey, NewJob, Progress, What},
};
use gristmill_storage::Inserted;
use sha2::{Digest, Sha256};

use crate::{Engine, EngineError, catalogue::JobType, to_the_end};

/// How long a submitter that will ring the bell itself keeps the leader from doing so.
const RING_GRACE: Duration = Duration::from_secs(5);
/// The most attempts that a submission may ask for.
const MOST_ATTEMPTS: u32 = 1_000;
/// The longest time that one attempt may take: a week.
const LONGEST_TIMEOUT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// The longest delay: ten years.
const LONGEST_DELAY_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1_000;
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
        outcomes.pop().unwrap_or(Err(EngineError::NoSuchJob))
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
        let drafts: Vec<_> = requests
            .into_iter()
            .map(|(place, request)| {
                let id = job_id(origin, place);
                let draft = self.draft(origin, id, &request)?;
                let payload = request.payload.map_or(Bytes::from_static(b"{}"), payload_bytes);
                draft.job_type.check(&payload, "/payload")?;
                Ok((draft, payload))
            })
            .collect();
        let engine = self.clone();
        to_the_end(async move { engine.store_drafts(drafts).await }).await
    }

    async fn store_drafts(&self, drafts: Vec<Result<(Draft, Bytes), EngineError>>) -> Vec<Result<Job, EngineError>> {
        let mut outcomes = Vec::with_capacity(drafts.len());
        let mut new = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let outcome = match draft {
                Ok((draft, payload)) => self.keep_body(&draft.job.key, payload).await.map(|payload| {
                    new.push(NewJob { job: draft.job, payload, text: None });
                }),
                Err(error) => Err(error),
            };
            outcomes.push(outcome);
        }
        let mut stored = self.insert(new).await.into_iter();
        outcomes
            .into_iter()
            .map(|outcome| outcome.and_then(|()| stored.next().unwrap_or(Err(EngineError::NoSuchJob))))
            .collect()
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
            // The blobs are left to the collector: after an ambiguous reply a stored job may need them.
            Err(error) => jobs.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    /// Checks everything but the payload, and makes the record.
    pub(crate) fn draft(&self, origin: &Origin, id: JobId, request: &JobRequest) -> Result<Draft, EngineError> {
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
        let mut history = History::default();
        history.push(HistoryEntry::new(now, What::Created));
        let job = Job {
            key: JobKey { tenant: origin.tenant.clone(), id },
            job_type: job_type.record().name.clone(),
            queue,
            priority,
            state,
            wake_at,
            attempt: 0,
            max_attempts: request.max_attempts.unwrap_or(defaults.max_attempts),
            claims: 0,
            rescues: 0,
            rings: 0,
            lease: None,
            worker: None,
            settled_by: None,
            cancel_requested: false,
            backoff: request.backoff.unwrap_or(defaults.backoff),
            timeout_ms: request.timeout_ms.unwrap_or(defaults.timeout_ms),
            deadline: request.deadline,
            run_at,
            created_at: now,
            started_at: None,
            finished_at: None,
            failed_at: None,
            progress: Progress::default(),
            error: None,
            tags: request.tags.clone(),
            trace: origin.trace.clone(),
            fingerprint: origin.idempotency_key.is_some().then(|| fingerprint(request)),
            version: 1,
            history,
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

/// SHA-256 over everything that makes two requests the same, each part with its length.
fn fingerprint(request: &JobRequest) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(request.job_type.as_bytes());
    part(request.payload.as_ref().map_or("", |payload| payload.get()).as_bytes());
    part(request.queue.as_deref().unwrap_or("").as_bytes());
    part(format!("{:?}", request.priority).as_bytes());
    part(format!("{:?}", (request.run_at, request.delay_ms, request.deadline)).as_bytes());
    part(format!("{:?}", (request.max_attempts, request.backoff, request.timeout_ms)).as_bytes());
    for tag in &request.tags {
        part(tag.as_bytes());
    }
    hash.finalize().into()
}
