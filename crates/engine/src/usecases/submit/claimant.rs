//! Those who ask for a key: what each does next.

use std::collections::{HashMap, hash_map::Entry};

use gristmill_common::{
    JobId, Timestamp,
    http::FieldError,
    job::{Change, Debounce, Job, JobKey, NewJob, Unique},
    unique::{Debounced, Held, Next, NextDebounced},
};
use gristmill_storage::{Expect, Register, RegisterKey, Space, StoreError, Swap};
use serde_json::Value;

use super::keys::Verdict;
use crate::{EngineError, board::to_json};

/// What a new job asks for before it is stored.
pub(super) enum Rule<'a> {
    Unique(&'a Unique),
    Debounce(&'a Debounce),
}

impl Rule<'_> {
    /// Its field in a submission.
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Unique(_) => "unique",
            Self::Debounce(_) => "debounce",
        }
    }
}

/// A job on its way to its key.
pub(super) struct Claimant<'a> {
    pub(super) place: usize,
    pub(super) new: &'a NewJob,
    rule: Rule<'a>,
    pub(super) key: RegisterKey,
}

/// What a claimant does next.
#[allow(clippy::large_enum_variant, reason = "one for each claimant, moved once")]
pub(super) enum Step {
    Done(Verdict),
    /// Somebody may be about to insert this job.
    Wait(JobId),
    Take(Expect),
    TakeOver(JobId, Expect),
    PutOff(Change),
}

/// Why a claimant must try again.
#[derive(Clone, Copy)]
pub(super) enum Again {
    Waits(JobId),
    CameSecond,
}

/// The key that it asks for, if it does.
pub(super) fn rule(job: &Job) -> Option<Rule<'_>> {
    let gates = job.gates.as_deref()?;
    let unique = gates.unique.as_ref().map(Rule::Unique);
    unique.or(gates.debounce.as_ref().map(Rule::Debounce))
}

/// The register of its key.
pub(in crate::usecases) fn register_of(job: &Job) -> Option<RegisterKey> {
    let (space, name) = match rule(job)? {
        Rule::Unique(unique) => (Space::Unique, unique.key.to_string()),
        Rule::Debounce(debounce) => (Space::Debounce, debounce.key.to_string()),
    };
    Some(RegisterKey { space, tenant: job.key.tenant.clone(), name })
}

impl Claimant<'_> {
    /// What it does next, having read its key and the jobs that keys name.
    pub(super) fn next(
        &self,
        register: Option<&Register>,
        holders: &HashMap<JobKey, Result<Job, StoreError>>,
        now: Timestamp,
    ) -> Result<Step, StoreError> {
        let me = self.new.job.key.id;
        let expect = register.map_or(Expect::Absent, |register| Expect::Version(register.version));
        let id = register.map(holder_of).transpose()?;
        let holder = id.and_then(|id| holders.get(&JobKey { tenant: self.key.tenant.clone(), id }));
        let holder = holder.map(Result::as_ref).transpose().map_err(Clone::clone)?;
        if holder.is_some_and(Job::is_abandoned) && id != Some(me) {
            // Somebody who took it over got no further than that.
            return Ok(Step::Take(expect));
        }
        Ok(match &self.rule {
            Rule::Unique(_) => {
                let held: Option<Held> = register.map(|register| read(&register.value)).transpose()?;
                match Held::next(held.as_ref(), holder, me, now) {
                    Next::Take => Step::Take(expect),
                    Next::Insert => Step::Done(Verdict::Insert),
                    Next::Taken(id) => holder.map_or(Step::Wait(id), |job| Step::Done(Verdict::Held(job.clone()))),
                    Next::Wait => Step::Wait(id.unwrap_or(me)),
                    Next::TakeOver(id) => Step::TakeOver(id, expect),
                }
            }
            Rule::Debounce(_) => {
                let held: Option<Debounced> = register.map(|register| read(&register.value)).transpose()?;
                match Debounced::next(held.as_ref(), holder, me, now) {
                    NextDebounced::Take => Step::Take(expect),
                    NextDebounced::Insert => Step::Done(Verdict::Insert),
                    NextDebounced::PutOff(id, until) => holder.map_or(Step::Wait(id), |job| self.put_off(job, until)),
                    NextDebounced::Wait => Step::Wait(id.unwrap_or(me)),
                    NextDebounced::TakeOver(id) => Step::TakeOver(id, expect),
                }
            }
        })
    }

    fn put_off(&self, job: &Job, until: Timestamp) -> Step {
        if job.job_type != self.new.job.job_type {
            let error = FieldError::new("/debounce/key", format!("names a job of type {}", job.job_type));
            return Step::Done(Verdict::Refused(EngineError::Invalid(vec![error])));
        }
        match job.put_off(self.new.payload.clone(), until) {
            Ok(change) => Step::PutOff(change),
            Err(_) => Step::Wait(job.key.id),
        }
    }

    /// The key becomes its own.
    pub(super) fn swap(&self, expect: Expect, now: Timestamp) -> Result<Swap, StoreError> {
        let me = self.new.job.key.id;
        let to = match &self.rule {
            Rule::Unique(unique) => {
                let held = Held::by(me, unique.held, now);
                (to_json(&held)?, Some(held.check_at()))
            }
            Rule::Debounce(_) => {
                let held = Debounced::by(me, now);
                (to_json(&held)?, Some(held.check_at()))
            }
        };
        Ok(Swap { key: self.key.clone(), expect, to: Some(to) })
    }

    /// Nothing is known against it but that it was never its turn.
    pub(super) fn out_of_patience(&self, again: Again) -> EngineError {
        match (&self.rule, again) {
            (Rule::Unique(_), Again::Waits(holder)) => EngineError::UniqueConflict(Some(holder)),
            (Rule::Unique(_), Again::CameSecond) => EngineError::UniqueConflict(None),
            (Rule::Debounce(_), _) => StoreError::Overloaded.into(),
        }
    }
}

/// Those that have no verdict and ask for different keys. Of several that ask for one, the first asks for the unique
/// key, and the last, whose payload counts, for the debounced one.
pub(super) fn claimants<'a>(new: &'a [NewJob], verdicts: &mut [Option<Verdict>]) -> Vec<Claimant<'a>> {
    let mut by_key: HashMap<RegisterKey, Claimant<'a>> = HashMap::new();
    for (place, new) in new.iter().enumerate() {
        let (None, Some(rule), Some(key)) = (&verdicts[place], rule(&new.job), register_of(&new.job)) else { continue };
        match by_key.entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(Claimant { place, new, rule, key });
            }
            Entry::Occupied(first) if matches!(rule, Rule::Unique(_)) => {
                verdicts[place] = Some(Verdict::After(first.get().place));
            }
            Entry::Occupied(mut before) => {
                let before = before.get_mut();
                if before.new.job.job_type != new.job.job_type {
                    let detail = format!("names a job of type {}", before.new.job.job_type);
                    let error = FieldError::new("/debounce/key", detail);
                    verdicts[place] = Some(Verdict::Refused(EngineError::Invalid(vec![error])));
                    continue;
                }
                let stood = std::mem::replace(before, Claimant { place, new, rule, key });
                verdicts.iter_mut().for_each(|verdict| {
                    if let Some(Verdict::With(there)) = verdict
                        && *there == stood.place
                    {
                        *there = place;
                    }
                });
                verdicts[stood.place] = Some(Verdict::With(place));
            }
        }
    }
    let mut claimants: Vec<Claimant<'a>> = by_key.into_values().collect();
    claimants.sort_by_key(|claimant| claimant.place);
    claimants
}

/// The job that a key names.
pub(in crate::usecases) fn holder_of(register: &Register) -> Result<JobId, StoreError> {
    let debounced = |value: &Value| read::<Debounced>(value).map(|held| held.holder);
    match register.key.space {
        Space::Debounce => debounced(&register.value),
        _ => read::<Held>(&register.value).map(|held| held.holder),
    }
}

/// What a newer build has written is not for us to judge: the key counts as held.
fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, StoreError> {
    T::deserialize(value).map_err(StoreError::unavailable)
}
