//! The oracle: knows every job that was accepted, and says at the end what became of the promises.

mod cron;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

use gristmill_common::{
    Body, State,
    job::{HistoryEntry, Job, JobKey, What},
    schedule::ScheduleRecord,
};
use gristmill_storage::Whole;

use self::keys::Shared;
pub(crate) use self::keys::{Group, Rule, Submission};
use crate::{
    path,
    witness::{Run, Seen},
};

/// What an accepted job may come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    /// The states that it may end in.
    pub(crate) ends: &'static [State],
    /// The codes that it may fail with.
    pub(crate) codes: &'static [&'static str],
    /// With which others it shares a key.
    pub(crate) group: Option<Group>,
}

impl Promise {
    /// It succeeds, whatever happens.
    pub(crate) const SUCCEEDS: Self = Self::of(&[State::Succeeded], &[]);

    /// It ends in one of these states, and if it fails, with one of these codes.
    pub(crate) const fn of(ends: &'static [State], codes: &'static [&'static str]) -> Self {
        Self { ends, codes, group: None }
    }
}

/// The tag of the jobs of the one schedule that there is.
pub(crate) const FIRED: &str = "schedule:tick";

/// Every job that was accepted.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// These were: somebody was told so.
    pub(crate) surely: BTreeMap<JobKey, Promise>,
    /// These may have been: there was no answer, and the question made no sense any more later on.
    pub(crate) perhaps: BTreeMap<JobKey, Promise>,
    /// The submissions of jobs that share a key.
    pub(crate) submissions: Vec<Submission>,
    /// The one schedule that there is, as it was last seen.
    pub(crate) schedule: Option<ScheduleRecord>,
}

/// What the oracle found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Jobs that were accepted.
    pub(crate) accepted: u64,
    /// Those among them that a schedule has made.
    pub(crate) fired: u64,
    /// Those that are gone, or have not ended.
    pub(crate) lost: u64,
    /// Those that ended twice, and jobs that nobody has submitted.
    pub(crate) doubled: u64,
    /// Everything that is wrong, the lost and doubled ones too.
    pub(crate) complaints: Vec<String>,
}

/// Judges what the store holds against what was accepted, and against what was seen, where handlers run in this process.
pub(crate) fn judge(accepted: &Accepted, stored: &[Whole], seen: Option<&Seen>) -> Verdict {
    let mut verdict = Verdict { accepted: accepted.surely.len() as u64, ..Verdict::default() };
    let mut missing: BTreeSet<&JobKey> = accepted.surely.keys().collect();
    let (mut fired, mut groups) = (BTreeSet::new(), BTreeMap::<Group, Vec<Shared>>::new());
    let of_schedule =
        accepted.schedule.as_ref().map_or(Promise::SUCCEEDS, |schedule| cron::promise_of(schedule.overlap));
    for whole in stored {
        let job = &whole.job;
        missing.remove(&job.key);
        let mut promise = accepted.surely.get(&job.key).or_else(|| accepted.perhaps.get(&job.key)).copied();
        if promise.is_none() && job.tags.iter().any(|tag| tag == FIRED) {
            promise = Some(of_schedule);
            verdict.accepted += 1;
            verdict.fired += 1;
            if !job.run_at.is_none_or(|instant| fired.insert(instant)) {
                verdict.twice(job, "its schedule has fired twice at one instant");
            }
        }
        match promise {
            Some(promise) => verdict.judge_end(job, promise),
            None => verdict.twice(job, "nobody has submitted it, or its answer was another job"),
        }
        verdict.judge_counts(job);
        if let Some(seen) = seen {
            let run = verdict.judge_runs(whole, &seen.runs);
            if let Some(group) = promise.and_then(|promise| promise.group) {
                groups.entry(group).or_default().push(Shared { job, payload: &whole.payload, run });
            }
        }
    }
    for (group, jobs) in groups {
        let seen = seen.into_iter();
        verdict.complaints.extend(seen.flat_map(|seen| keys::faults_of(group, &jobs, &accepted.submissions, seen)));
    }
    let schedule = accepted.schedule.as_ref();
    verdict.complaints.extend(schedule.and_then(|schedule| cron::fault_of(schedule, &fired)));
    for key in missing {
        verdict.lost += 1;
        verdict.complaints.push(format!("{} was accepted and is gone", key.id));
    }
    verdict
}

impl Verdict {
    fn judge_end(&mut self, job: &Job, promise: Promise) {
        if !job.state.is_terminal() {
            self.lost += 1;
            let (wake_at, rings) = (job.wake_at, job.rings);
            let history = path::words(&job.history);
            return self.wrong(job, &format!("is still {}, wakes at {wake_at}, rings {rings}: {history}", job.state));
        }
        let code = job.error.as_ref().map_or("", |error| &error.code);
        let is_expected =
            promise.ends.contains(&job.state) && (job.state != State::Failed || promise.codes.contains(&code));
        if !is_expected {
            self.wrong(job, &format!("ended {} ({code}): {}", job.state, path::words(&job.history)));
        }
    }

    fn judge_counts(&mut self, job: &Job) {
        if let Some(fault) = path::fault_of(job) {
            return self.twice(job, &fault);
        }
        if job.attempt > job.max_attempts {
            self.wrong(job, &format!("has had {} attempts of {}", job.attempt, job.max_attempts));
        }
        if job.history.omitted() > 0 {
            return;
        }
        let times = |what| path::times(&job.history, what);
        if times(What::Claimed) != job.claims {
            self.wrong(job, &format!("was claimed {} times: {}", job.claims, path::words(&job.history)));
        }
        // Each claim was charged, or given back, once.
        if job.claims != job.attempt + times(What::Rescued) + times(What::Released) {
            self.wrong(job, &format!("{} claims, {} attempts: {}", job.claims, job.attempt, path::words(&job.history)));
        }
    }

    /// Each end of an attempt was written by the worker that had claimed the job last before it. Gives the run that
    /// succeeded: its lease was held from its beginning to its end.
    fn judge_runs<'a>(&mut self, whole: &Whole, runs: &'a [Run]) -> Option<&'a Run> {
        let job = &whole.job;
        let mut succeeded = None;
        let entries: Vec<&HistoryEntry> = job.history.entries().collect();
        for (place, entry) in entries.iter().enumerate() {
            let told = match entry.what {
                What::Succeeded => whole.result.as_ref().and_then(run_in_result),
                What::RetryScheduled | What::Failed => entry.message.as_deref().and_then(run_in_message),
                _ => None,
            };
            let Some(run) = told.and_then(|number| runs.get(number)) else {
                if entry.what == What::Succeeded {
                    self.wrong(job, "succeeded with a result of no run");
                }
                continue;
            };
            if entry.what == What::Succeeded {
                succeeded = Some(run);
            }
            let claimed = entries[..place].iter().rev().find(|entry| entry.what == What::Claimed);
            let claimed_by = claimed.and_then(|entry| entry.worker);
            if run.job != job.key.id || claimed_by != Some(run.worker) {
                self.wrong(
                    job,
                    &format!("was settled by {} after its lease was lost: {}", run.worker, path::words(&job.history)),
                );
            }
        }
        succeeded
    }

    fn twice(&mut self, job: &Job, why: &str) {
        self.doubled += 1;
        self.wrong(job, why);
    }

    fn wrong(&mut self, job: &Job, why: &str) {
        self.complaints.push(format!("{} {why}", job.key.id));
    }
}

/// What the rig's handler gives: `{"run": 7}`.
fn run_in_result(result: &Body) -> Option<usize> {
    let Body::Inline(bytes) = result else { return None };
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    json["run"].as_u64().and_then(|run| usize::try_from(run).ok())
}

/// What the rig's handler fails with: `run 7`.
fn run_in_message(message: &str) -> Option<usize> {
    message.strip_prefix("run ")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use gristmill_common::{JobId, LeaseId, Tenant, Timestamp, WorkerId, job::Limits};

    use super::*;

    const NOW: Timestamp = Timestamp::MAX;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A job that was claimed by this worker and succeeded with the result of run 0.
    fn done(worker: WorkerId) -> Whole {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let mut job = Job::accepted(key, "act".parse().expect("a name"), at(1));
        let claim = job.claim(LeaseId::fresh(), worker, at(2), NOW).expect("queued");
        assert!(claim.apply(&mut job));
        let result = Body::Inline(r#"{"run": 0}"#.into());
        let change = job.succeed(result.clone(), at(3), &Limits::default()).expect("running");
        assert!(change.apply(&mut job));
        Whole { job, payload: Body::Inline("{}".into()), text: None, result: Some(result), logs: Vec::new() }
    }

    fn seen(job: &Whole, worker: WorkerId) -> Seen {
        let run = Run { job: job.job.key.id, worker, began: Instant::now(), ended: Some(Instant::now()) };
        Seen { runs: vec![run], ..Seen::default() }
    }

    fn accepted(job: &Whole) -> Accepted {
        let surely = [(job.job.key.clone(), Promise::SUCCEEDS)].into();
        Accepted { surely, ..Accepted::default() }
    }

    #[test]
    fn nothing_is_wrong_with_a_job_that_ended_once() {
        let worker = WorkerId::fresh();
        let job = done(worker);
        let seen = seen(&job, worker);
        let verdict = judge(&accepted(&job), &[job], Some(&seen));
        assert_eq!((verdict.accepted, verdict.complaints), (1, Vec::<String>::new()));
    }

    #[test]
    fn a_settle_by_a_worker_that_had_lost_the_lease_is_found() {
        let job = done(WorkerId::fresh());
        let seen = seen(&job, WorkerId::fresh());
        let verdict = judge(&accepted(&job), std::slice::from_ref(&job), Some(&seen));
        assert!(verdict.complaints[0].contains("after its lease was lost"), "{:?}", verdict.complaints);
    }

    #[test]
    fn lost_and_doubled_jobs_are_counted() {
        let job = done(WorkerId::fresh());
        let verdict = judge(&accepted(&job), &[], None);
        assert_eq!((verdict.lost, verdict.doubled), (1, 0));
        let verdict = judge(&Accepted::default(), std::slice::from_ref(&job), None);
        assert_eq!((verdict.lost, verdict.doubled), (0, 1));
        let mut waits = job.clone();
        waits.job.state = State::Queued;
        assert_eq!(judge(&accepted(&job), &[waits], None).lost, 1);
        let mut charged = job.clone();
        charged.job.attempt = 7;
        assert_eq!(judge(&accepted(&job), &[charged], None).complaints.len(), 2, "too many, and not what was claimed");
    }
}
