//! Insert: new jobs become durable, those first of all that need a key and get it.

use gristmill_common::{
    Body,
    job::{Job, NewJob, OnConflict},
};
use gristmill_storage::{Inserted, StoreError};

use super::{
    claimant::rule,
    keys::{self, Verdict},
    no_outcome,
};
use crate::{Engine, EngineError};

type Outcome = Result<Job, EngineError>;

impl Engine {
    /// Takes the keys that new jobs ask for, and stores those that may come. One outcome for each.
    pub(crate) async fn insert(&self, new: Vec<NewJob>) -> Vec<Outcome> {
        if !new.iter().any(|new| keys::asks_for_key(&new.job)) {
            return self.store_new(new).await;
        }
        let verdicts = self.take_keys(&new).await;
        let on_conflict: Vec<OnConflict> = new.iter().map(|new| keys::on_conflict(&new.job)).collect();
        let mut admitted = Vec::with_capacity(new.len());
        for (new, verdict) in new.into_iter().zip(&verdicts) {
            match verdict {
                Verdict::Insert => admitted.push(new),
                _ => self.drop_bodies(&bodies_of(&new)).await,
            }
        }
        let asked: Vec<Job> = admitted.iter().map(|new| new.job.clone()).collect();
        let stored = self.store_new(admitted).await;
        // A key whose job is certain not to be there is free again at once.
        let lost = asked.into_iter().zip(&stored).filter(|(_, outcome)| was_not_written(outcome)).map(|(job, _)| job);
        self.free_keys(&lost.collect::<Vec<_>>()).await;
        let mut stored = stored.into_iter();
        let outcomes: Vec<(Verdict, Option<Outcome>)> = verdicts
            .into_iter()
            .map(|verdict| {
                let outcome = matches!(verdict, Verdict::Insert).then(|| stored.next().unwrap_or_else(no_outcome));
                (verdict, outcome)
            })
            .collect();
        outcomes.iter().zip(on_conflict).map(|(outcome, on_conflict)| tell(&outcomes, outcome, on_conflict)).collect()
    }

    /// Stores new jobs in one write, and rings the bell for those that may run at once. One outcome for each.
    async fn store_new(&self, mut new: Vec<NewJob>) -> Vec<Result<Job, EngineError>> {
        if new.is_empty() {
            return Vec::new();
        }
        new.iter_mut().for_each(|new| self.decide_who_rings(&mut new.job));
        let jobs: Vec<Job> = new.iter().map(|new| new.job.clone()).collect();
        let bodies: Vec<Vec<Body>> = new.iter().map(bodies_of).collect();
        match self.store().insert(new).await {
            Ok(inserted) => {
                let mut outcomes = Vec::with_capacity(jobs.len());
                for ((job, inserted), bodies) in jobs.into_iter().zip(inserted).zip(bodies) {
                    outcomes.push(match inserted {
                        Inserted::Created => {
                            metrics::counter!("gristmill_jobs_submitted_total").increment(1);
                            self.ring_as_decided(&job);
                            Ok(job)
                        }
                        Inserted::Exists(existing) => {
                            self.drop_bodies(&bodies).await;
                            told_before(&job, existing)
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
}

/// What a submitter is told.
fn tell(all: &[(Verdict, Option<Outcome>)], one: &(Verdict, Option<Outcome>), on_conflict: OnConflict) -> Outcome {
    let held_by = |job: &Job| match on_conflict {
        OnConflict::ReturnExisting => Ok(job.clone()),
        OnConflict::Reject => Err(EngineError::UniqueConflict(Some(job.key.id))),
    };
    match one {
        (_, Some(outcome)) => outcome.clone(),
        (Verdict::There(job), _) => Ok(job.clone()),
        (Verdict::Held(job), _) => held_by(job),
        (Verdict::Refused(error), _) => Err(error.clone()),
        (Verdict::After(place), _) => match all.get(*place) {
            Some((Verdict::Insert, Some(Ok(job))) | (Verdict::Held(job), _)) => held_by(job),
            Some((_, Some(Err(error))) | (Verdict::Refused(error), _)) => Err(error.clone()),
            _ => no_outcome(),
        },
        (Verdict::With(place), _) => match all.get(*place) {
            Some((_, Some(outcome))) => outcome.clone(),
            Some((Verdict::There(job), _)) => Ok(job.clone()),
            Some((Verdict::Refused(error), _)) => Err(error.clone()),
            _ => no_outcome(),
        },
        (Verdict::Insert, None) => no_outcome(),
    }
}

/// What a submission is told whose id is taken.
pub(super) fn told_before(sent: &Job, existing: Job) -> Outcome {
    if let Some(rule) = rule(sent)
        && existing.is_abandoned()
    {
        return Err(EngineError::Overtaken { gate: rule.field() });
    }
    if existing.fingerprint == sent.fingerprint { Ok(existing) } else { Err(EngineError::IdempotencyKeyReused) }
}

/// Whether the store says that it has not written the job. After [`StoreError::Unavailable`] it may be there.
fn was_not_written(outcome: &Outcome) -> bool {
    match outcome {
        Err(EngineError::Store(error)) => !matches!(error, StoreError::Unavailable(_)),
        _ => false,
    }
}

fn bodies_of(new: &NewJob) -> Vec<Body> {
    new.text.iter().chain([&new.payload]).cloned().collect()
}
