//! What is promised of jobs that share a key, judged by what can be proved: where an order of events is open, it is
//! taken to have been the right one.

use std::{
    fmt,
    time::{Duration, Instant},
};

use gristmill_common::{
    Body, JobId,
    job::{Job, JobKey},
};

use crate::{
    path,
    witness::{Claiming, Part, Run, Seen},
};

/// Clocks tell whole milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// Jobs that share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// Which key, of which kind.
    pub(crate) name: &'static str,
    /// What is promised of them.
    pub(crate) rule: Rule,
}

/// What is promised of jobs that share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// No more than so many of them run at once.
    AtOnce(usize),
    /// No two of them wait for their first claim.
    OneWaits,
    /// No two of them were submitted within so many milliseconds.
    OneIn(u64),
    /// They start at this rate: so many, and one more for each part of so many milliseconds.
    Rate(u32, u64),
    /// A job has the payload of the last submission that was answered with it.
    LastCounts,
}

/// A submission that was answered with a job that shares a key.
#[derive(Debug, Clone)]
pub(crate) struct Submission {
    /// The job.
    pub(crate) job: JobKey,
    /// Whether it is the submission's own, and no other's before it.
    pub(crate) is_own: bool,
    pub(crate) group: Group,
    /// Which submission this is, as its payload says.
    pub(crate) mark: u64,
    /// When it was first sent.
    pub(crate) sent: Instant,
    pub(crate) answered: Instant,
    /// Whether each try of it has had an answer: nothing of it is under way any more.
    pub(crate) is_over: bool,
}

/// A job that shares a key.
pub(super) struct Shared<'a> {
    pub(super) job: &'a Job,
    pub(super) payload: &'a Body,
    /// The run that succeeded.
    pub(super) run: Option<&'a Run>,
}

/// What is wrong with the jobs of a group.
pub(super) fn faults_of(group: Group, jobs: &[Shared], all: &[Submission], seen: &Seen) -> Vec<String> {
    let submissions: Vec<&Submission> = all.iter().filter(|one| one.group == group).collect();
    let own: Vec<&Submission> = submissions.iter().copied().filter(|one| one.is_own).collect();
    let faults: Vec<String> = match group.rule {
        Rule::AtOnce(most) => too_many_at_once(jobs, most).into_iter().collect(),
        Rule::OneWaits => two_wait(&own, &seen.claims),
        Rule::OneIn(ms) => two_in(&own, Duration::from_millis(ms), seen.calm_until),
        Rule::Rate(limit, per_ms) => {
            let is_one = |claim: &&Claiming| jobs.iter().any(|shared| shared.job.key.id == claim.job);
            let calm = |claim: &&Claiming| seen.calm_until.is_some_and(|until| claim.asked < until);
            let starts: Vec<_> = seen.claims.iter().filter(|claim| claim.got).filter(calm).filter(is_one).collect();
            too_fast(&starts, limit, Duration::from_millis(per_ms)).into_iter().collect()
        }
        Rule::LastCounts => jobs.iter().filter_map(|shared| older_payload(shared, &submissions)).collect(),
    };
    faults.into_iter().map(|fault| format!("{}: {fault}", group.name)).collect()
}

/// Those of the runs that succeeded count: their leases held from beginning to end.
fn too_many_at_once(jobs: &[Shared], most: usize) -> Option<String> {
    let runs: Vec<(&Run, &Job)> = jobs.iter().filter_map(|shared| Some((shared.run?, shared.job))).collect();
    let goes_on = |run: &Run, at: Instant| run.began <= at && run.ended.is_none_or(|ended| at < ended);
    let beside = |at: Instant| -> Vec<_> { runs.iter().filter(|(run, _)| goes_on(run, at)).collect() };
    let at_once = runs.iter().map(|(run, _)| beside(run.began)).max_by_key(Vec::len)?;
    let told = || at_once.iter().map(|(run, job)| Told(run, job).to_string()).collect::<Vec<_>>().join("; ");
    (at_once.len() > most).then(|| format!("{} ran at once, not {most}: {}", at_once.len(), told()))
}

/// One that is known to be there, and not to have been claimed before another was accepted.
fn two_wait(own: &[&Submission], claims: &[Claiming]) -> Vec<String> {
    let first_claim = |job: JobId| claims.iter().filter(|claim| claim.job == job).map(|claim| claim.asked).min();
    let mut faults = Vec::new();
    for first in own {
        let Some(claimed) = first_claim(first.job.id) else { continue };
        let waits_beside = |other: &&&Submission| first.answered < other.sent && other.answered < claimed;
        if let Some(second) = own.iter().find(waits_beside) {
            faults.push(format!("{} was accepted while {} waited", second.job.id, first.job.id));
        }
    }
    faults
}

fn two_in(own: &[&Submission], time: Duration, calm_until: Option<Instant>) -> Vec<String> {
    let calm = |one: &&&Submission| calm_until.is_some_and(|until| one.answered < until);
    // Whichever has got the key first had it for all that time.
    let too_soon = |one: &Submission, other: &Submission| {
        let after = |first: &Submission, second: &Submission| second.answered + TICK >= first.sent + time;
        !after(one, other) && !after(other, one)
    };
    let mut faults = Vec::new();
    for (place, one) in own.iter().enumerate().filter(|(_, one)| calm(one)) {
        if let Some(other) = own[place + 1..].iter().filter(calm).find(|other| too_soon(one, other)) {
            faults.push(format!("{} and {} were accepted within {time:?}", one.job.id, other.job.id));
        }
    }
    faults
}

/// Tokens are taken after the lease's term began and before the claim is asked for.
fn too_fast(starts: &[&Claiming], limit: u32, per: Duration) -> Option<String> {
    let interval = per / limit.max(1);
    for first in starts {
        for last in starts {
            let within = starts.iter().filter(|start| start.began >= first.began && start.asked <= last.asked).count();
            let width = last.asked.saturating_duration_since(first.began) + TICK;
            let most = u128::from(limit) + width.as_nanos() / interval.as_nanos().max(1);
            if within as u128 > most {
                return Some(format!("{within} started within {width:?}, not {most}"));
            }
        }
    }
    None
}

/// A job whose payload comes from a submission that was over before another was sent that it was the answer to.
fn older_payload(shared: &Shared, submissions: &[&Submission]) -> Option<String> {
    let Body::Inline(payload) = shared.payload else { return None };
    let mark = serde_json::from_slice::<Part>(payload).ok()?.mark;
    let given_by = submissions.iter().find(|one| one.mark == mark && one.is_over)?;
    let answered_with_it = submissions.iter().filter(|one| one.job == shared.job.key);
    let later = answered_with_it.max_by_key(|one| one.sent).filter(|one| given_by.answered < one.sent)?;
    Some(format!("{} has the payload of submission {mark}, and not of {}", shared.job.key.id, later.mark))
}

/// A run, and what became of its job.
struct Told<'a>(&'a Run, &'a Job);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { began, ended, worker, .. } = self.0;
        let (ago, took) = (began.elapsed(), ended.map(|ended| ended - *began));
        let words = path::words(&self.1.history);
        write!(f, "{} on {worker}, {ago:.3?} ago for {took:.3?}, {words}", self.1.key.id)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::{LeaseId, Tenant, Timestamp, WorkerId};

    use super::*;

    /// Moments, in milliseconds after one that they share.
    struct Times(Instant);

    impl Times {
        fn at(&self, ms: u64) -> Instant {
            self.0 + Duration::from_millis(ms)
        }

        fn submission(&self, sent: u64, answered: u64) -> Submission {
            Submission {
                job: JobKey { tenant: Tenant::default(), id: JobId::fresh() },
                is_own: true,
                group: Group { name: "key", rule: Rule::OneWaits },
                mark: sent,
                sent: self.at(sent),
                answered: self.at(answered),
                is_over: true,
            }
        }

        fn claim(&self, job: JobId, began: u64, asked: u64) -> Claiming {
            Claiming { job, lease: LeaseId::fresh(), began: self.at(began), asked: self.at(asked), got: true }
        }
    }

    fn job(key: &JobKey) -> Job {
        Job::accepted(key.clone(), "act".parse().expect("a name"), Timestamp::from_millis(1))
    }

    #[test]
    fn runs_at_once_are_found() {
        let times = Times(Instant::now());
        let job = job(&times.submission(0, 0).job);
        let is_more = |most: usize, spans: &[(u64, u64)]| {
            let run = |&(from, to): &(u64, u64)| Run {
                job: job.key.id,
                worker: WorkerId::fresh(),
                began: times.at(from),
                ended: Some(times.at(to)),
            };
            let (runs, payload): (Vec<Run>, _) = (spans.iter().map(run).collect(), Body::Inline("{}".into()));
            let shared: Vec<_> =
                runs.iter().map(|run| Shared { job: &job, payload: &payload, run: Some(run) }).collect();
            too_many_at_once(&shared, most).is_some()
        };
        assert!(!is_more(1, &[(0, 5), (5, 9)]));
        assert!(is_more(1, &[(0, 5), (4, 9), (2, 3)]));
        assert!(!is_more(2, &[(0, 5), (4, 9), (2, 3)]));
        assert!(!is_more(0, &[]));
    }

    #[test]
    fn a_second_one_that_waits_is_found_where_it_is_certain() {
        let times = Times(Instant::now());
        let (first, second) = (times.submission(0, 10), times.submission(20, 30));
        let own = [&first, &second];
        assert_eq!(two_wait(&own, &[times.claim(first.job.id, 31, 31)]).len(), 1);
        assert_eq!(two_wait(&own, &[times.claim(first.job.id, 25, 25), times.claim(first.job.id, 40, 40)]).len(), 0);
        assert_eq!(two_wait(&own, &[]).len(), 0);
        let beside = times.submission(5, 30);
        assert_eq!(two_wait(&[&first, &beside], &[times.claim(first.job.id, 31, 31)]).len(), 0);
    }

    #[test]
    fn a_key_that_is_held_for_a_time_is_held_for_it() {
        let times = Times(Instant::now());
        let (first, second) = (times.submission(0, 10), times.submission(20, 390));
        let found =
            |calm: Option<u64>| two_in(&[&first, &second], Duration::from_millis(400), calm.map(|ms| times.at(ms)));
        assert_eq!(found(Some(1_000)).len(), 1);
        assert_eq!(found(Some(300)).len(), 0);
        assert_eq!(found(None).len(), 0);
        let later = times.submission(20, 400);
        assert!(two_in(&[&first, &later], Duration::from_millis(400), Some(times.at(1_000))).is_empty());
    }

    #[test]
    fn more_starts_than_the_rate_allows_are_found() {
        let times = Times(Instant::now());
        let too_many = |starts: &[(u64, u64)]| {
            let starts: Vec<_> =
                starts.iter().map(|&(began, asked)| times.claim(JobId::fresh(), began, asked)).collect();
            too_fast(&starts.iter().collect::<Vec<_>>(), 2, Duration::from_millis(200)).is_some()
        };
        assert!(too_many(&[(0, 1), (1, 2), (2, 3)]));
        assert!(!too_many(&[(0, 1), (1, 2), (2, 103)]));
        assert!(!too_many(&[(0, 1), (1, 2), (101, 103), (201, 205)]));
        assert!(too_many(&[(0, 1), (500, 501), (501, 502), (502, 503)]));
    }

    #[test]
    fn an_older_payload_is_found() {
        let times = Times(Instant::now());
        let (first, mut second) = (times.submission(1, 10), times.submission(20, 30));
        second.job = first.job.clone();
        let (job, payload) =
            (job(&first.job), |mark: u64| Body::Inline(format!(r#"{{"ms": 0, "mark": {mark}}}"#).into()));
        let is_older = |mark: u64, first: &Submission| {
            let payload = payload(mark);
            older_payload(&Shared { job: &job, payload: &payload, run: None }, &[first, &second]).is_some()
        };
        assert!(is_older(1, &first));
        assert!(!is_older(20, &first));
        assert!(!is_older(1, &Submission { is_over: false, ..first.clone() }));
        assert!(!is_older(1, &Submission { answered: times.at(21), ..first.clone() }));
    }
}
