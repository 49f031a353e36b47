//! Submit: from a request to a durable job. The answer comes after the store's; the bell is rung right after.

mod check;
mod claimant;
mod draft;
mod fingerprint;
mod insert;
mod keys;

use std::time::{Duration, Instant};

use bytes::Bytes;
use gristmill_common::{
    INLINE_LIMIT, JobId, Tenant,
    http::{FieldError, JobRequest},
    job::{Job, JobKey, NewJob},
};
use gristmill_storage::StoreError;

pub(super) use self::claimant::{holder_of, register_of};
use self::fingerprint::fingerprint;
use crate::{Engine, EngineError, to_the_end};

/// How long a submitter that will ring the bell itself keeps the leader from doing so.
pub(crate) const RING_GRACE: Duration = Duration::from_secs(5);

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

    /// The record and the payload of a request, checked.
    pub(super) async fn draft_with_payload(
        &self,
        origin: &Origin,
        id: JobId,
        request: JobRequest,
        came: Instant,
    ) -> Result<(Job, Bytes), EngineError> {
        let draft = self.draft(origin, id, &request, came).await?;
        let payload = request.payload.map_or(Bytes::from_static(b"{}"), payload_bytes);
        draft.job_type.check(&payload, "/payload")?;
        if request.debounce.is_some() && payload.len() > INLINE_LIMIT {
            let error = FieldError::new("/payload", "must be at most 64 KiB together with debounce");
            return Err(EngineError::Invalid(vec![error]));
        }
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
