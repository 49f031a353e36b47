//! Unique and debounced keys: who gets a key, and who is told of the job that holds it.
//!
//! What to do next is decided in `gristmill_common::unique`; here it is done, for all submissions of a batch at once:
//! a reading of the keys, one of the jobs that they name, and a swap, however many there are.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use gristmill_common::{
    job::{Change, Job, JobKey, NewJob, OnConflict},
    unique::{PATIENCE, READ_AGAIN_AFTER},
};
use gristmill_storage::{Inserted, Register, RegisterKey, StoreError, Swap};

use super::{
    claimant::{Again, Claimant, Step, claimants, holder_of, rule},
    insert::told_before,
};
use crate::{Engine, EngineError};

/// How long a submitter goes on that always comes second.
const LONGEST_RACE: Duration = Duration::from_secs(5);
/// The longest wait before it tries again.
const RACE_AGAIN: Duration = Duration::from_millis(20);

/// What becomes of a new job.
pub(super) enum Verdict {
    /// It is stored: it asks for no key, or has got it.
    Insert,
    /// The answer is this job: the one that was sent before, or the one that it has put off.
    There(Job),
    /// This job holds its key.
    Held(Job),
    /// It is not stored.
    Refused(EngineError),
    /// The item at this place comes first, and asks for the same key.
    After(usize),
    /// The item at this place stands for it, with its debounced key.
    With(usize),
}

/// Whether there is a key to be taken.
pub(super) fn asks_for_key(job: &Job) -> bool {
    rule(job).is_some()
}

/// What the submitter wants if its key is held.
pub(super) fn on_conflict(job: &Job) -> OnConflict {
    job.gates.as_ref().and_then(|gates| gates.unique.as_ref()).map_or(OnConflict::Reject, |unique| unique.on_conflict)
}

impl Engine {
    /// Takes the keys that these jobs ask for.
    pub(super) async fn take_keys(&self, new: &[NewJob]) -> Vec<Verdict> {
        let mut verdicts: Vec<Option<Verdict>> =
            new.iter().map(|new| (!asks_for_key(&new.job)).then_some(Verdict::Insert)).collect();
        if let Err(error) = self.settle_verdicts(new, &mut verdicts).await {
            verdicts.iter_mut().filter(|verdict| verdict.is_none()).for_each(|verdict| {
                *verdict = Some(Verdict::Refused(error.clone().into()));
            });
        }
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Insert)).collect()
    }

    /// On an error, what has no verdict has got no key, or does not know.
    async fn settle_verdicts(&self, new: &[NewJob], verdicts: &mut [Option<Verdict>]) -> Result<(), StoreError> {
        self.find_those_sent_before(new, verdicts).await?;
        let mut claimants = claimants(new, verdicts);
        let (began, mut round) = (Instant::now(), 0u32);
        while !claimants.is_empty() {
            let mut left = Vec::new();
            let mut all_wait = true;
            let outcomes = self.try_each(&claimants).await?;
            for (claimant, outcome) in claimants.into_iter().zip(outcomes) {
                let again = match outcome {
                    Ok(verdict) => {
                        verdicts[claimant.place] = Some(verdict);
                        continue;
                    }
                    Err(again) => again,
                };
                all_wait &= matches!(again, Again::Waits(_));
                let patience = if matches!(again, Again::Waits(_)) { PATIENCE } else { LONGEST_RACE };
                if began.elapsed() < patience {
                    left.push(claimant);
                } else {
                    verdicts[claimant.place] = Some(Verdict::Refused(claimant.out_of_patience(again)));
                }
            }
            claimants = left;
            if !claimants.is_empty() {
                round += 1;
                let race = RACE_AGAIN.mul_f64(fastrand::f64() * f64::from(round.min(8)) / 8.0);
                tokio::time::sleep(if all_wait { READ_AGAIN_AFTER } else { race }).await;
            }
        }
        Ok(())
    }

    /// A submission that is sent again with its idempotency key asks for nothing: it is there.
    async fn find_those_sent_before(&self, new: &[NewJob], verdicts: &mut [Option<Verdict>]) -> Result<(), StoreError> {
        let open = |place: &usize| verdicts[*place].is_none() && new[*place].job.fingerprint.is_some();
        let places: Vec<usize> = (0..new.len()).filter(open).collect();
        if places.is_empty() {
            return Ok(());
        }
        let keys: Vec<JobKey> = places.iter().map(|&place| new[place].job.key.clone()).collect();
        for (place, before) in places.into_iter().zip(self.store().jobs(&keys).await?) {
            if let Some(before) = before {
                let told = told_before(&new[place].job, before);
                verdicts[place] = Some(told.map_or_else(Verdict::Refused, Verdict::There));
            }
        }
        Ok(())
    }

    /// Reads, decides and does it, once for each.
    async fn try_each(&self, claimants: &[Claimant<'_>]) -> Result<Vec<Result<Verdict, Again>>, StoreError> {
        let keys: Vec<RegisterKey> = claimants.iter().map(|claimant| claimant.key.clone()).collect();
        let registers = self.store().registers(&keys).await?;
        let holders = self.holders(&registers).await?;
        let now = self.now();
        let mut outcomes: Vec<Result<Verdict, Again>> = Vec::with_capacity(claimants.len());
        let (mut takes, mut tombs, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (claimant, register)) in claimants.iter().zip(&registers).enumerate() {
            outcomes.push(match claimant.next(register.as_ref(), &holders, now)? {
                Step::Done(verdict) => Ok(verdict),
                Step::Wait(holder) => Err(Again::Waits(holder)),
                Step::Take(expect) => {
                    takes.push((place, claimant.swap(expect, now)?));
                    Err(Again::CameSecond)
                }
                Step::TakeOver(holder, expect) => {
                    let key = JobKey { tenant: claimant.key.tenant.clone(), id: holder };
                    let tomb = Job::abandoned(key, claimant.new.job.job_type.clone(), now);
                    tombs.push((tomb, (place, claimant.swap(expect, now)?)));
                    Err(Again::CameSecond)
                }
                Step::PutOff(change) => {
                    changes.push((place, change));
                    Err(Again::CameSecond)
                }
            });
        }
        if !tombs.is_empty() {
            let (tombs, swaps): (Vec<NewJob>, Vec<_>) = tombs.into_iter().unzip();
            let buried = self.store().insert(tombs).await?;
            let free = swaps.into_iter().zip(buried).filter(|(_, buried)| matches!(buried, Inserted::Created));
            takes.extend(free.map(|(swap, _)| swap));
        }
        if !takes.is_empty() {
            let (places, swaps): (Vec<usize>, Vec<Swap>) = takes.into_iter().unzip();
            let taken = match self.store().swap(swaps).await {
                // Some may have been made all the same: the next reading tells.
                Err(StoreError::Unavailable(_)) => Vec::new(),
                taken => taken?,
            };
            for (place, _) in places.into_iter().zip(taken).filter(|(_, is_taken)| *is_taken) {
                outcomes[place] = Ok(Verdict::Insert);
            }
        }
        if !changes.is_empty() {
            let (places, changes): (Vec<usize>, Vec<Change>) = changes.into_iter().unzip();
            for (place, put_off) in places.into_iter().zip(self.store().apply(changes).await?) {
                if let Some(job) = put_off {
                    outcomes[place] = Ok(Verdict::There(job));
                }
            }
        }
        Ok(outcomes)
    }

    /// The jobs that keys name, as far as they are there.
    async fn holders(&self, registers: &[Option<Register>]) -> Result<HashMap<JobKey, Job>, StoreError> {
        let mut keys = Vec::with_capacity(registers.len());
        for register in registers.iter().flatten() {
            keys.push(JobKey { tenant: register.key.tenant.clone(), id: holder_of(register)? });
        }
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let jobs = self.store().jobs(&keys).await?;
        Ok(jobs.into_iter().flatten().map(|job| (job.key.clone(), job)).collect())
    }
}
