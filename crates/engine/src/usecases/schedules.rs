//! Schedules: put, read, paused, resumed, deleted. The duty that fires them is the scheduler's.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use gristmill_common::{
    INLINE_LIMIT, JobId, ScheduleId, Tenant, Timestamp,
    http::{FieldError, JobRequest, ScheduleRequest},
    limits::Version,
    schedule::{Cron, JobTemplate, ScheduleName, ScheduleRecord, TimeZone},
};
use gristmill_storage::{Expect, Register, RegisterKey, Space, StoreError, Swap};
use serde::Deserialize;

use super::submit::Origin;
use crate::{Engine, EngineError, board::to_json, to_the_end};

/// How many of its next instants are told of a schedule.
const NEXT_TOLD: usize = 5;
/// How often a change is tried again when somebody else was quicker. The scheduler changes a record each time it fires.
const MOST_TRIES: u32 = 50;
/// The longest wait before the next try.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// A schedule, and when it fires next.
#[derive(Debug, Clone)]
pub struct ScheduleStatus {
    /// The schedule.
    pub record: ScheduleRecord,
    /// Its next instants; none while it is paused.
    pub next: Vec<Timestamp>,
}

/// What became of a schedule that was put.
#[derive(Debug, Clone)]
pub enum Put {
    /// There was none of that name.
    Created(ScheduleStatus),
    /// It has taken the place of the one that was there.
    Replaced(ScheduleStatus),
}

/// The key of a register, and the record in it if there is one, with what a change of it expects.
struct Read {
    expect: Expect,
    record: Option<ScheduleRecord>,
}

impl Engine {
    /// Makes a schedule, or changes the one of that name, which stays as paused as it is. It fires from now on.
    ///
    /// # Errors
    /// The request makes no sense, or names an unknown type or queue; or the store failed.
    pub async fn put_schedule(
        &self,
        tenant: &Tenant,
        name: &ScheduleName,
        request: ScheduleRequest,
    ) -> Result<Put, EngineError> {
        let new = self.schedule_of(tenant, name, request).await?;
        let (was_there, record) = self
            .change_schedule(tenant, name, |before| match before {
                Some(before) => Ok((true, Some(before.replaced_by(new.clone())))),
                None => Ok((false, Some(new.clone()))),
            })
            .await?;
        let status = status(record.unwrap_or(new), self.now()).await;
        Ok(if was_there { Put::Replaced(status) } else { Put::Created(status) })
    }

    /// A schedule.
    ///
    /// # Errors
    /// There is no such schedule, or the store failed. The same for all that follow.
    pub async fn schedule(&self, tenant: &Tenant, name: &ScheduleName) -> Result<ScheduleStatus, EngineError> {
        let record = self.read_schedule(tenant, name).await?.record.ok_or(EngineError::NoSuchSchedule)?;
        Ok(status(record, self.now()).await)
    }

    /// A page of a tenant's schedules by name, and where the next begins.
    ///
    /// # Errors
    /// Also: the cursor is not one that this list made.
    pub async fn schedules(
        &self,
        tenant: &Tenant,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<ScheduleStatus>, Option<String>), EngineError> {
        let after = cursor.map(read_cursor).transpose()?.map(|name| key(tenant, &name));
        let mut registers =
            self.store().list_registers(Space::Schedule, Some(tenant), after.as_ref(), limit.saturating_add(1)).await?;
        let is_last = registers.len() <= limit;
        registers.truncate(limit);
        let last = registers.last().filter(|_| !is_last).map(|register| register.key.name.clone());
        // What a newer build wrote is left to newer builds.
        let records: Vec<ScheduleRecord> =
            registers.iter().filter_map(|register| ScheduleRecord::deserialize(&register.value).ok()).collect();
        let mut schedules = Vec::with_capacity(records.len());
        for record in records {
            schedules.push(status(record, self.now()).await);
        }
        Ok((schedules, last.map(|name| URL_SAFE_NO_PAD.encode(name))))
    }

    /// Stops a schedule from firing.
    pub async fn pause_schedule(&self, tenant: &Tenant, name: &ScheduleName) -> Result<ScheduleStatus, EngineError> {
        self.set_schedule(tenant, name, ScheduleRecord::pause).await
    }

    /// Lets a schedule fire again, from now on: what came while it was paused was not missed.
    pub async fn resume_schedule(&self, tenant: &Tenant, name: &ScheduleName) -> Result<ScheduleStatus, EngineError> {
        self.set_schedule(tenant, name, ScheduleRecord::resume).await
    }

    /// Removes a schedule. The jobs that it has made stay.
    pub async fn delete_schedule(&self, tenant: &Tenant, name: &ScheduleName) -> Result<(), EngineError> {
        let removed = self.change_schedule(tenant, name, |before| match before {
            Some(_) => Ok(((), None)),
            None => Err(EngineError::NoSuchSchedule),
        });
        removed.await.map(drop)
    }

    async fn set_schedule(
        &self,
        tenant: &Tenant,
        name: &ScheduleName,
        set: fn(&mut ScheduleRecord, Timestamp),
    ) -> Result<ScheduleStatus, EngineError> {
        let now = self.now();
        let (record, _) = self
            .change_schedule(tenant, name, |before| {
                let mut record = before.ok_or(EngineError::NoSuchSchedule)?.clone();
                set(&mut record, now);
                Ok((record.clone(), Some(record)))
            })
            .await?;
        Ok(status(record, now).await)
    }

    /// Reads a schedule, decides what it is to be, and writes; again, if it was changed in between. `None` removes it.
    async fn change_schedule<T: Send + 'static>(
        &self,
        tenant: &Tenant,
        name: &ScheduleName,
        decide: impl Fn(Option<&ScheduleRecord>) -> Result<(T, Option<ScheduleRecord>), EngineError>,
    ) -> Result<(T, Option<ScheduleRecord>), EngineError> {
        for _ in 0..MOST_TRIES {
            let read = self.read_schedule(tenant, name).await?;
            let (told, record) = decide(read.record.as_ref())?;
            let to =
                record.as_ref().map(|record| Ok::<_, StoreError>((to_json(record)?, record.due_at()))).transpose()?;
            let swap = Swap { key: key(tenant, name), expect: read.expect, to };
            let engine = self.clone();
            let swapped = to_the_end(async move { engine.store().swap(vec![swap]).await }).await?;
            if swapped.contains(&true) {
                return Ok((told, record));
            }
            tokio::time::sleep(TRY_AGAIN.mul_f64(fastrand::f64())).await;
        }
        Err(StoreError::Overloaded.into())
    }

    async fn read_schedule(&self, tenant: &Tenant, name: &ScheduleName) -> Result<Read, EngineError> {
        let found: Option<Register> = self.store().registers(&[key(tenant, name)]).await?.pop().flatten();
        let Some(register) = found else { return Ok(Read { expect: Expect::Absent, record: None }) };
        let record = ScheduleRecord::deserialize(&register.value).map_err(StoreError::unavailable)?;
        Ok(Read { expect: Expect::Version(register.version), record: Some(record) })
    }

    /// The record that a request asks for, with what its type leaves open filled in.
    async fn schedule_of(
        &self,
        tenant: &Tenant,
        name: &ScheduleName,
        request: ScheduleRequest,
    ) -> Result<ScheduleRecord, EngineError> {
        let ScheduleRequest { cron, time_zone, job, missed, overlap } = request;
        let mut errors = Vec::new();
        // Whether a pattern ever fires may take a search of 400 years.
        let cron = match tokio::task::spawn_blocking(move || cron.parse::<Cron>()).await {
            Ok(Ok(cron)) => Some(cron),
            Ok(Err(wrong)) => {
                errors.push(FieldError::new("/cron", wrong.to_string()));
                None
            }
            Err(failed) => return Err(StoreError::unavailable(failed).into()),
        };
        let time_zone = time_zone.as_deref().map_or(Ok(TimeZone::UTC), str::parse::<TimeZone>);
        let time_zone = time_zone.map_err(|wrong| errors.push(FieldError::new("/time_zone", wrong.to_string())));
        let template = match self.template_of(tenant, job.into()).await {
            Ok(template) => Some(template),
            Err(EngineError::Invalid(wrong)) => {
                let within = |error: FieldError| FieldError::new(format!("/job{}", error.pointer), error.detail);
                errors.extend(wrong.into_iter().map(within));
                None
            }
            Err(error) => return Err(error),
        };
        let (Some(cron), Ok(time_zone), Some(template)) = (cron, time_zone, template) else {
            return Err(EngineError::InvalidSchedule(errors));
        };
        let now = self.now();
        Ok(ScheduleRecord {
            v: Version,
            id: ScheduleId::fresh(),
            tenant: tenant.clone(),
            name: name.clone(),
            cron,
            time_zone,
            template,
            missed: missed.unwrap_or_default(),
            overlap: overlap.unwrap_or_default(),
            paused: false,
            fired_through: now,
            last_job: None,
            created_at: now,
            updated_at: now,
        })
    }

    async fn template_of(&self, tenant: &Tenant, request: JobRequest) -> Result<JobTemplate, EngineError> {
        let origin = Origin { tenant: tenant.clone(), ..Origin::default() };
        let (job, payload) = self.draft_with_payload(&origin, JobId::fresh(), request, Instant::now()).await?;
        let wrong = |detail: &str| EngineError::Invalid(vec![FieldError::new("/payload", detail)]);
        if payload.len() > INLINE_LIMIT {
            return Err(wrong("must be at most 64 KiB in a schedule"));
        }
        Ok(JobTemplate {
            job_type: job.job_type,
            payload: String::from_utf8(payload.into()).map_err(|_| wrong("must be UTF-8"))?,
            queue: job.queue,
            priority: job.priority,
            max_attempts: job.max_attempts,
            backoff: job.backoff,
            timeout_ms: job.timeout_ms,
            tags: job.tags,
            gates: job.gates.map(|gates| *gates).unwrap_or_default(),
        })
    }
}

fn key(tenant: &Tenant, name: &ScheduleName) -> RegisterKey {
    RegisterKey { space: Space::Schedule, tenant: tenant.clone(), name: name.to_string() }
}

/// A pattern that seldom fires takes a search.
async fn status(record: ScheduleRecord, now: Timestamp) -> ScheduleStatus {
    if record.paused {
        return ScheduleStatus { record, next: Vec::new() };
    }
    let searched = record.clone();
    let next = tokio::task::spawn_blocking(move || searched.next_instants(now, NEXT_TOLD)).await.unwrap_or_default();
    ScheduleStatus { record, next }
}

/// A cursor is the last name of its page, as unpadded base64url (RFC 4648, section 5).
fn read_cursor(cursor: &str) -> Result<ScheduleName, EngineError> {
    let name = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.and_then(|name| name.parse().ok()).ok_or(EngineError::BadCursor)
}
