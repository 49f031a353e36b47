//! Unique keys and debounced submissions: who holds a key, and what a submitter does next.
//!
//! A key is a small value in the store that names one job. **That job says whether the key is held**, so there is
//! no release that could be lost. A submitter writes its own job's id into the key, by compare-and-swap on what it
//! read, and inserts the job then.
//!
//! It may die in between, and leave a key that names no job. After [`ABANDONED_AFTER`] the next submitter takes the
//! key over; but first it inserts a cancelled job under that id, a tombstone. If the tombstone is refused, the job
//! has come after all, and if the job comes later, it is refused. So two jobs never hold one key, however late a
//! write arrives.
//!
//! Nothing but a submission asks for a key: a retry, a rescue and a retry by hand run whoever holds it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    JobId, State, Timestamp,
    job::{Debounce, Job, While},
    limits::Version,
};

/// How old a key that names no job has to be for others to take it over. Until then its submitter may be about to
/// insert the job.
pub const ABANDONED_AFTER: Duration = Duration::from_secs(10);
/// How long a submitter waits before it reads a key again that names no job yet.
pub const READ_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long it goes on so in all. Then the submission is refused: somebody is submitting under that key.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How old a key has to be for the scheduler to look whether it is still needed.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Who holds a unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    v: Version<1>,
    /// The job that the key names.
    pub holder: JobId,
    /// For how long it holds it: the holder's own words count, and not a newcomer's.
    #[serde(rename = "while")]
    pub held: While,
    /// Since when.
    pub at: Timestamp,
}

/// Which job a debounced key names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debounced {
    v: Version<1>,
    /// The job that the key names.
    pub holder: JobId,
    /// Since when.
    pub at: Timestamp,
}

/// What a submitter of a unique key does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Swap the key from what was read to one's own; if that is refused, read again; then insert the job.
    Take,
    /// Insert the job: the key is one's own.
    Insert,
    /// The key is held by this job.
    Taken(JobId),
    /// Read again after [`READ_AGAIN_AFTER`]: somebody may be about to insert the key's job.
    Wait,
    /// Insert a tombstone under this id. If it is made, go on as with [`Next::Take`]; if there is a job, read again.
    TakeOver(JobId),
}

/// What a submitter of a debounced key does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextDebounced {
    /// As [`Next::Take`]; the job is scheduled for the end of its wait.
    Take,
    /// As [`Next::Insert`].
    Insert,
    /// Put this job off until then, which may be as it was, with the new payload; if that is refused, read again.
    PutOff(JobId, Timestamp),
    /// As [`Next::Wait`].
    Wait,
    /// As [`Next::TakeOver`].
    TakeOver(JobId),
}

impl Held {
    /// The value that a submitter writes.
    #[must_use]
    pub fn by(holder: JobId, held: While, now: Timestamp) -> Self {
        Self { v: Version, holder, held, at: now }
    }

    /// What the submitter of `me` does next, having read the key and then the job that it names.
    #[must_use]
    pub fn next(read: Option<&Self>, holder: Option<&Job>, me: JobId, now: Timestamp) -> Next {
        let Some(held) = read else { return Next::Take };
        match standing(held.holder, held.at, holder, me, now) {
            Standing::Mine => Next::Insert,
            Standing::Expected => Next::Wait,
            Standing::Abandoned => Next::TakeOver(held.holder),
            Standing::There(job) if held.is_held_by(job, now) => Next::Taken(held.holder),
            Standing::There(_) => Next::Take,
        }
    }

    /// Whether nobody needs the key any more, so that it may be removed. Asked of old ones only.
    #[must_use]
    pub fn is_left_over(&self, holder: Option<&Job>, now: Timestamp) -> bool {
        now >= self.check_at() && holder.is_none_or(|job| !self.is_held_by(job, now))
    }

    /// When to ask first whether it is left over.
    #[must_use]
    pub fn check_at(&self) -> Timestamp {
        let at_least = self.at + LEFT_OVER_AFTER;
        self.until().map_or(at_least, |until| until.max(at_least))
    }

    /// Whether the key's job, as it stands, holds the key. A job that was removed holds none, whatever it said: so
    /// a time longer than ended jobs are kept is cut short by that.
    fn is_held_by(&self, job: &Job, now: Timestamp) -> bool {
        match self.held {
            While::Queued => job.claims == 0 && matches!(job.state, State::Scheduled | State::Queued),
            While::Active => !job.state.is_terminal(),
            While::ForMs(_) => self.until().is_some_and(|until| now < until),
        }
    }

    fn until(&self) -> Option<Timestamp> {
        if let While::ForMs(ms) = self.held { Some(self.at + Duration::from_millis(ms)) } else { None }
    }
}

impl Debounced {
    /// The value that a submitter writes.
    #[must_use]
    pub fn by(holder: JobId, now: Timestamp) -> Self {
        Self { v: Version, holder, at: now }
    }

    /// What the submitter of `me` does next, having read the key and then the job that it names.
    #[must_use]
    pub fn next(read: Option<&Self>, holder: Option<&Job>, me: JobId, now: Timestamp) -> NextDebounced {
        let Some(key) = read else { return NextDebounced::Take };
        match standing(key.holder, key.at, holder, me, now) {
            Standing::Mine => NextDebounced::Insert,
            Standing::Expected => NextDebounced::Wait,
            Standing::Abandoned => NextDebounced::TakeOver(key.holder),
            Standing::There(job) => {
                put_off_until(job, now).map_or(NextDebounced::Take, |until| NextDebounced::PutOff(key.holder, until))
            }
        }
    }

    /// Whether nobody needs the key any more, so that it may be removed. Asked of old ones only.
    #[must_use]
    pub fn is_left_over(&self, holder: Option<&Job>, now: Timestamp) -> bool {
        now >= self.check_at() && holder.is_none_or(|job| job.state != State::Scheduled || job.claims > 0)
    }

    /// When to ask first whether it is left over.
    #[must_use]
    pub fn check_at(&self) -> Timestamp {
        self.at + LEFT_OVER_AFTER
    }
}

/// Until when another submission of its key puts a job off, if it has not begun: its own words count, and not a
/// newcomer's. One that has had its wait, and is at a gate, only takes the payload.
fn put_off_until(job: &Job, now: Timestamp) -> Option<Timestamp> {
    if job.state != State::Scheduled || job.claims > 0 {
        return None;
    }
    if job.is_parked() {
        return Some(job.wake_at);
    }
    let Debounce { wait_ms, max_wait_ms, .. } = job.gates.as_ref()?.debounce.as_ref()?;
    let latest = job.created_at + Duration::from_millis(*max_wait_ms);
    Some((now + Duration::from_millis(*wait_ms)).min(latest).max(now))
}

/// How it stands with the job that a key names.
enum Standing<'a> {
    /// It is the submitter's own.
    Mine,
    /// It is not there, and may come.
    Expected,
    /// It is not there, and has had its time.
    Abandoned,
    /// It is there.
    There(&'a Job),
}

fn standing(holder: JobId, at: Timestamp, job: Option<&Job>, me: JobId, now: Timestamp) -> Standing<'_> {
    match job {
        _ if holder == me => Standing::Mine,
        Some(job) => Standing::There(job),
        None if now.since(at) < ABANDONED_AFTER => Standing::Expected,
        None => Standing::Abandoned,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Tenant,
        job::{Gates, HistoryEntry, JobKey, What},
    };

    fn id(number: u8) -> JobId {
        JobId::from_bytes([number; 16])
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn job(state: State, claims: u32) -> Job {
        let key = JobKey { tenant: Tenant::default(), id: id(1) };
        Job { state, claims, ..Job::accepted(key, "sleep".parse().expect("a name"), at(0)) }
    }

    const ME: u8 = 9;

    fn next(held: While, job: Option<&Job>, now: i64) -> Next {
        Held::next(Some(&Held::by(id(1), held, at(0))), job, id(ME), at(now))
    }

    #[test]
    fn the_job_that_a_key_names_says_whether_it_is_held() {
        let taken = Next::Taken(id(1));
        for (state, claims, while_queued, while_active) in [
            (State::Scheduled, 0, taken, taken),
            (State::Queued, 0, taken, taken),
            (State::Running, 1, Next::Take, taken),
            // A later attempt waits: it was claimed before.
            (State::Scheduled, 1, Next::Take, taken),
            (State::Queued, 1, Next::Take, taken),
            (State::Succeeded, 1, Next::Take, Next::Take),
            (State::Failed, 1, Next::Take, Next::Take),
            (State::Cancelled, 0, Next::Take, Next::Take),
        ] {
            let job = job(state, claims);
            assert_eq!(next(While::Queued, Some(&job), 0), while_queued, "{state} {claims}");
            assert_eq!(next(While::Active, Some(&job), 0), while_active, "{state} {claims}");
            assert_eq!(next(While::ForMs(5_000), Some(&job), 4), taken, "{state} {claims}");
            assert_eq!(next(While::ForMs(5_000), Some(&job), 5), Next::Take, "{state} {claims}");
        }
    }

    #[test]
    fn a_key_that_names_no_job_is_waited_for_and_then_taken_over() {
        for held in [While::Queued, While::Active, While::ForMs(1_000_000)] {
            assert_eq!(next(held, None, 9), Next::Wait);
            assert_eq!(next(held, None, 10), Next::TakeOver(id(1)));
        }
        assert_eq!(Held::next(None, None, id(ME), at(0)), Next::Take);
        let own = Held::by(id(ME), While::Active, at(0));
        assert_eq!(Held::next(Some(&own), None, id(ME), at(100)), Next::Insert);
    }

    #[test]
    fn a_debounced_job_is_put_off_as_far_as_it_may_be() {
        let debounce = Debounce { key: "a".parse().expect("a key"), wait_ms: 10_000, max_wait_ms: 25_000 };
        let gates = Gates { debounce: Some(debounce), ..Gates::default() };
        let job = |state, claims| Job { gates: Some(Box::new(gates.clone())), ..job(state, claims) };
        let next = |job: Option<&Job>, now| Debounced::next(Some(&Debounced::by(id(1), at(0))), job, id(ME), at(now));
        let waiting = job(State::Scheduled, 0);
        assert_eq!(next(Some(&waiting), 4), NextDebounced::PutOff(id(1), at(14)));
        assert_eq!(next(Some(&waiting), 20), NextDebounced::PutOff(id(1), at(25)));
        assert_eq!(next(Some(&waiting), 30), NextDebounced::PutOff(id(1), at(30)));
        // It has had its wait: where it stands at a gate stays as it is.
        let mut parked = Job { wake_at: at(13), ..job(State::Scheduled, 0) };
        parked.history.push(HistoryEntry::new(at(11), What::Parked));
        assert_eq!(next(Some(&parked), 12), NextDebounced::PutOff(id(1), at(13)));
        for gone in [job(State::Queued, 0), job(State::Scheduled, 1), job(State::Running, 1), job(State::Cancelled, 0)]
        {
            assert_eq!(next(Some(&gone), 4), NextDebounced::Take);
        }
        assert_eq!((next(None, 9), next(None, 10)), (NextDebounced::Wait, NextDebounced::TakeOver(id(1))));
        assert_eq!(Debounced::next(None, None, id(ME), at(0)), NextDebounced::Take);
    }

    #[test]
    fn an_old_key_is_left_over_once_nothing_holds_it() {
        const DAY: i64 = 86_400;
        let active = Held::by(id(1), While::Active, at(0));
        assert!(!active.is_left_over(None, at(DAY - 1)));
        assert!(active.is_left_over(None, at(DAY)));
        assert!(active.is_left_over(Some(&job(State::Failed, 1)), at(DAY)));
        assert!(!active.is_left_over(Some(&job(State::Running, 1)), at(DAY)));
        let for_two_days = Held::by(id(1), While::ForMs(2 * DAY as u64 * 1_000), at(0));
        assert_eq!(for_two_days.check_at(), at(2 * DAY));
        let debounced = Debounced::by(id(1), at(0));
        assert!(!debounced.is_left_over(Some(&job(State::Scheduled, 0)), at(DAY)));
        assert!(debounced.is_left_over(Some(&job(State::Running, 1)), at(DAY)));
    }

    #[test]
    fn values_are_read_as_they_were_written_and_not_from_a_newer_build() {
        let held = Held::by(id(1), While::ForMs(5), at(1));
        let stored = serde_json::to_value(held).expect("json");
        assert_eq!(serde_json::from_value::<Held>(stored.clone()).ok(), Some(held));
        assert_eq!((stored["v"].as_u64(), stored["while"]["for_ms"].as_u64()), (Some(1), Some(5)));
        let debounced = Debounced::by(id(1), at(1));
        let text = serde_json::to_string(&debounced).expect("json");
        assert_eq!(serde_json::from_str::<Debounced>(&text).ok(), Some(debounced));
        assert!(serde_json::from_str::<Debounced>(&text.replace("\"v\":1", "\"v\":2")).is_err());
    }

    proptest! {
        /// Whatever is read, a key is never taken from a job that holds it, or before its time from one to come.
        #[test]
        fn a_key_is_never_taken_from_who_holds_it(
            held in prop_oneof![Just(While::Queued), Just(While::Active), (0..30_000u64).prop_map(While::ForMs)],
            there in prop::option::of((prop::sample::select(&State::ALL[..]), 0..3u32)),
            millis in 0..30_000i64,
        ) {
            let job = there.map(|(state, claims)| job(state, claims));
            let now = Timestamp::from_millis(millis);
            let key = Held::by(id(1), held, at(0));
            let holds = job.as_ref().is_some_and(|job| key.is_held_by(job, now));
            let next = Held::next(Some(&key), job.as_ref(), id(ME), now);
            prop_assert_eq!(next == Next::Taken(id(1)), holds);
            prop_assert_eq!(next == Next::Take, job.is_some() && !holds);
            prop_assert_eq!(next == Next::TakeOver(id(1)), job.is_none() && millis >= 10_000);
        }
    }
}
