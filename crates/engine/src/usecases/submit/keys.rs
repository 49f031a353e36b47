//! Unique and debounced keys: who gets a key, and who is told of the job that holds it.
//!
//! What to do next is decided in `gristmill_common::unique`; here it is done, for all submissions of a batch at once:
//! a reading of the keys, one of the jobs that they name, and a swap, however many there are.

use std::{
    collections::HashMap,
    slice,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
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

/// What came of one try.
type Tried = Result<Verdict, Again>;
/// The jobs that keys name, or why they cannot be read.
type Holders = HashMap<JobKey, Result<Job, StoreError>>;

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
        self.settle_verdicts(new, &mut verdicts).await;
        verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Insert)).collect()
    }

    async fn settle_verdicts(&self, new: &[NewJob], verdicts: &mut [Option<Verdict>]) {
        self.find_those_sent_before(new, verdicts).await;
        let mut claimants = claimants(new, verdicts);
        let (began, mut round) = (Instant::now(), 0u32);
        while !claimants.is_empty() {
            let mut left = Vec::new();
            let mut all_wait = true;
            let outcomes = self.try_each(&claimants).await;
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
    }

    /// A submission that is sent again with its idempotency key asks for nothing: it is there.
    async fn find_those_sent_before(&self, new: &[NewJob], verdicts: &mut [Option<Verdict>]) {
        let open = |place: &usize| verdicts[*place].is_none() && new[*place].job.fingerprint.is_some();
        let places: Vec<usize> = (0..new.len()).filter(open).collect();
        if places.is_empty() {
            return;
        }
        let keys: Vec<JobKey> = places.iter().map(|&place| new[place].job.key.clone()).collect();
        for (place, before) in places.into_iter().zip(each(&keys, |keys| self.store().jobs(keys)).await) {
            verdicts[place] = match before {
                Ok(None) => continue,
                Ok(Some(before)) => {
                    Some(told_before(&new[place].job, before).map_or_else(Verdict::Refused, Verdict::There))
                }
                Err(error) => Some(Verdict::Refused(error.into())),
            };
        }
    }

    /// Reads, decides and does it, once for each. What fails is told to those alone whom it concerns.
    async fn try_each(&self, claimants: &[Claimant<'_>]) -> Vec<Tried> {
        let keys: Vec<RegisterKey> = claimants.iter().map(|claimant| claimant.key.clone()).collect();
        let registers = each(&keys, |keys| self.store().registers(keys)).await;
        let holders = self.holders(&registers).await;
        let now = self.now();
        let mut outcomes: Vec<Tried> = Vec::with_capacity(claimants.len());
        let (mut takes, mut tombs, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (place, (claimant, register)) in claimants.iter().zip(registers).enumerate() {
            let step = register.and_then(|register| {
                Ok(match claimant.next(register.as_ref(), &holders, now)? {
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
                })
            });
            outcomes.push(step.unwrap_or_else(|error| Ok(Verdict::Refused(error.into()))));
        }
        takes.extend(self.bury(tombs, &mut outcomes).await);
        self.take(takes, &mut outcomes).await;
        self.put_off(changes, &mut outcomes).await;
        outcomes
    }

    /// Inserts tombstones. The swaps of those whose tombstone is made may follow.
    async fn bury(&self, tombs: Vec<(NewJob, (usize, Swap))>, outcomes: &mut [Tried]) -> Vec<(usize, Swap)> {
        if tombs.is_empty() {
            return Vec::new();
        }
        let (tombs, swaps): (Vec<NewJob>, Vec<(usize, Swap)>) = tombs.into_iter().unzip();
        match self.store().insert(tombs).await {
            Ok(buried) => {
                let made = swaps.into_iter().zip(buried).filter(|(_, buried)| matches!(buried, Inserted::Created));
                made.map(|(swap, _)| swap).collect()
            }
            Err(error) => {
                refuse(swaps.into_iter().map(|(place, _)| place), &error, outcomes);
                Vec::new()
            }
        }
    }

    async fn take(&self, takes: Vec<(usize, Swap)>, outcomes: &mut [Tried]) {
        if takes.is_empty() {
            return;
        }
        let (places, swaps): (Vec<usize>, Vec<Swap>) = takes.into_iter().unzip();
        match self.store().swap(swaps).await {
            Ok(taken) => {
                for (place, _) in places.into_iter().zip(taken).filter(|(_, is_taken)| *is_taken) {
                    outcomes[place] = Ok(Verdict::Insert);
                }
            }
            // Some may have been made all the same: the next reading tells.
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => refuse(places, &error, outcomes),
        }
    }

    async fn put_off(&self, changes: Vec<(usize, Change)>, outcomes: &mut [Tried]) {
        if changes.is_empty() {
            return;
        }
        let (places, changes): (Vec<usize>, Vec<Change>) = changes.into_iter().unzip();
        match self.store().apply(changes).await {
            Ok(changed) => {
                for (place, job) in places.into_iter().zip(changed) {
                    if let Some(job) = job {
                        outcomes[place] = Ok(Verdict::There(job));
                    }
                }
            }
            // They may have been put off all the same: done again, it comes to the same.
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => refuse(places, &error, outcomes),
        }
    }

    /// The jobs that keys name, as far as they are there, or why they cannot be read.
    async fn holders(&self, registers: &[Result<Option<Register>, StoreError>]) -> Holders {
        let named = |register: &Register| {
            // What cannot be read is told of when it is somebody's turn.
            Some(JobKey { tenant: register.key.tenant.clone(), id: holder_of(register).ok()? })
        };
        let keys: Vec<JobKey> = registers.iter().flatten().flatten().filter_map(named).collect();
        if keys.is_empty() {
            return Holders::new();
        }
        let jobs = each(&keys, |keys| self.store().jobs(keys)).await;
        keys.into_iter().zip(jobs).filter_map(|(key, job)| Some((key, job.transpose()?))).collect()
    }
}

fn refuse(places: impl IntoIterator<Item = usize>, error: &StoreError, outcomes: &mut [Tried]) {
    places.into_iter().for_each(|place| outcomes[place] = Ok(Verdict::Refused(error.clone().into())));
}

/// Reads many in one call; one by one, if there is one among them that no reading mends.
async fn each<'a, K, T>(
    keys: &'a [K],
    read: impl Fn(&'a [K]) -> BoxFuture<'a, Result<Vec<T>, StoreError>>,
) -> Vec<Result<T, StoreError>> {
    match read(keys).await {
        Ok(found) => found.into_iter().map(Ok).collect(),
        Err(StoreError::Corrupt(_)) if keys.len() > 1 => {
            let mut each = Vec::with_capacity(keys.len());
            for key in keys {
                let none = || StoreError::Corrupt("the store gave no answer for a key".into());
                each.push(read(slice::from_ref(key)).await.and_then(|mut found| found.pop().ok_or_else(none)));
            }
            each
        }
        Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
    }
}
