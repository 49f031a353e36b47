//! What each event does to a job: from the record as it was read to the compare-and-set that changes it.
//! `transition` says where the event leads; these functions say what else goes with it.

use std::time::Duration;

use crate::{
    Body, LeaseId, State, Timestamp, WorkerId,
    job::{
        Backoff, Change, Event, Guard, HistoryEntry, IllegalTransition, Job, JobError, MAX_ERROR_BYTES, Progress, Set,
        What, transition,
    },
};

/// The bounds that decisions keep to; set by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long succeeded jobs are kept.
    pub retention: Duration,
    /// How long failed jobs are kept.
    pub failed_retention: Duration,
    /// How long cancelled jobs are kept.
    pub cancelled_retention: Duration,
    /// How many rescues of a job that was claimed alone make it a dead letter.
    pub max_rescues: u32,
}

impl Default for Limits {
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            retention: Duration::from_secs(7 * DAY),
            failed_retention: Duration::from_secs(30 * DAY),
            cancelled_retention: Duration::from_secs(7 * DAY),
            max_rescues: 5,
        }
    }
}

impl Limits {
    /// How long a job is kept that has ended in this state.
    #[must_use]
    pub fn kept(&self, state: State) -> Duration {
        match state {
            State::Failed => self.failed_retention,
            State::Cancelled => self.cancelled_retention,
            _ => self.retention,
        }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable snake_case word.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// The least wait before another attempt; [`Backoff::LONGEST`] at most.
    pub min_delay: Duration,
}

/// The first wait of a job whose dispatch nobody answers. It doubles with each ring, up to an hour.
const RING_AGAIN: Duration = Duration::from_secs(60);
const RING_AGAIN_CAP: Duration = Duration::from_secs(60 * 60);
/// The first wait of a job that no worker can take just now. It doubles, up to the same hour.
const POSTPONE: Duration = Duration::from_secs(1);
/// The longest wait of a job that another worker can take.
const PASS_ON_CAP: Duration = Duration::from_secs(5);

type Decision = Result<Change, IllegalTransition>;

impl Job {
    /// Its time has come: it may be claimed.
    ///
    /// # Errors
    /// It is not scheduled. The same for all that follow: the job is in no state for the event.
    pub fn due(&self, now: Timestamp) -> Decision {
        let guard = Guard { wake_at: Some(self.wake_at), ..Guard::state(self.state) };
        let sets = [Set::WakeAt(now), Set::Rings(0)];
        let entry = (!self.is_parked()).then(|| HistoryEntry::new(now, What::Due));
        self.change(Event::Due, guard, sets, entry)
    }

    /// A gate was shut: it is due again at this time, or when somebody opens the gate before. The broker's queue and
    /// the duties that fill it do not see it meanwhile.
    pub fn park(&self, now: Timestamp, until: Timestamp) -> Decision {
        let guard = Guard { claims: Some(self.claims), ..Guard::state(self.state) };
        // A job may be parked hundreds of times: its history says so once.
        let told = self.last_entry_is(What::Parked);
        let entry = (!told).then(|| HistoryEntry::new(now, What::Parked));
        self.change(Event::Park, guard, [Set::WakeAt(until), Set::Rings(0)], entry)
    }

    /// Whether it waits for a gate, and not for its time or its next attempt.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.state == State::Scheduled && self.last_entry_is(What::Parked)
    }

    /// Another submission of its debounced key came: it takes that one's payload, and waits until then.
    pub fn put_off(&self, payload: Body, until: Timestamp) -> Decision {
        let guard = Guard { claims: Some(self.claims), wake_at: Some(self.wake_at), ..Guard::state(self.state) };
        let change = self.change(Event::PutOff, guard, [Set::WakeAt(until)], None)?;
        Ok(Change { payload: Some(payload), ..change })
    }

    /// The broker was rung for it: when nobody answers, ring again later, and ever more rarely.
    pub fn ring(&self, now: Timestamp) -> Decision {
        self.wait_in_queue(Event::Ring, now + doubled(RING_AGAIN, self.rings))
    }

    /// This worker cannot take it, and another can: it is rung again within seconds.
    pub fn pass_on(&self, now: Timestamp) -> Decision {
        self.wait_in_queue(Event::Postpone, now + doubled(POSTPONE, self.rings).min(PASS_ON_CAP))
    }

    /// Nobody could take it just now.
    pub fn postpone(&self, now: Timestamp) -> Decision {
        self.wait_in_queue(Event::Postpone, now + doubled(POSTPONE, self.rings))
    }

    /// A worker had its dispatch in hand for too long without a free slot: ring again, for others.
    pub fn hand_back(&self, now: Timestamp) -> Decision {
        self.wait_in_queue(Event::Postpone, now)
    }

    /// A worker takes it until the lease ends at `until`, and the attempt is charged.
    pub fn claim(&self, lease: LeaseId, worker: WorkerId, now: Timestamp, until: Timestamp) -> Decision {
        let guard = Guard { claims: Some(self.claims), ..Guard::state(self.state) };
        let sets = [
            Set::WakeAt(until),
            Set::Attempt(self.attempt + 1),
            Set::Claims(self.claims + 1),
            Set::Lease(Some(lease)),
            Set::Worker(Some(worker)),
            Set::StartedAt(Some(now)),
            Set::Progress(Progress::default()),
        ];
        let entry = HistoryEntry {
            worker: Some(worker),
            attempt: Some(self.attempt + 1),
            ..HistoryEntry::new(now, What::Claimed)
        };
        self.change(Event::Claim, guard, sets, Some(entry))
    }

    /// Its handler said how far it has come.
    pub fn report(&self, progress: Progress) -> Decision {
        self.change(Event::Progress, self.held(), [Set::Progress(progress)], None)
    }

    /// Its handler returned a result. A stop that was asked for came too late.
    pub fn succeed(&self, result: Body, now: Timestamp, limits: &Limits) -> Decision {
        let mut sets = self.settled(now + limits.retention);
        sets.extend([
            Set::FinishedAt(Some(now)),
            Set::Progress(Progress { percent: 100, message: None }),
            Set::Error(None),
        ]);
        let entry = HistoryEntry { attempt: Some(self.attempt), ..HistoryEntry::new(now, What::Succeeded) };
        let change = self.change(Event::Succeed, self.held(), sets, Some(entry))?;
        Ok(Change { result: Some(result), ..change })
    }

    /// An attempt failed. It ends cancelled if it was asked to stop, waits for its next attempt if there may be
    /// one, and otherwise ends as a dead letter. `luck` is uniform in 0 to 1, for the jitter.
    pub fn fail(&self, failure: &Failure, now: Timestamp, limits: &Limits, luck: f64) -> Decision {
        if self.cancel_requested {
            return self.stop(now, limits);
        }
        let guard = Guard { cancel_requested: Some(false), ..self.held() };
        let error = self.error_of(failure);
        if failure.retryable && self.attempt < self.max_attempts {
            let wait = self.backoff.delay(self.attempt, luck).max(failure.min_delay.min(Backoff::LONGEST));
            let entry = failed_entry(now, What::RetryScheduled, &error);
            let mut sets = self.settled(now + wait);
            sets.push(Set::Error(Some(error)));
            return self.change(Event::RetryLater, guard, sets, Some(entry));
        }
        let entry = failed_entry(now, What::Failed, &error);
        let mut sets = self.settled(now + limits.failed_retention);
        sets.extend([Set::FinishedAt(Some(now)), Set::FailedAt(Some(now)), Set::Error(Some(error))]);
        self.change(Event::Fail, guard, sets, Some(entry))
    }

    /// Its worker gives it back unharmed: the attempt is not charged.
    pub fn release(&self, now: Timestamp, limits: &Limits) -> Decision {
        if self.cancel_requested {
            return self.stop(now, limits);
        }
        let guard = Guard { cancel_requested: Some(false), ..self.held() };
        let mut sets = self.settled(now);
        sets.extend([Set::Attempt(self.attempt.saturating_sub(1)), Set::Rings(0)]);
        self.change(Event::Release, guard, sets, Some(HistoryEntry::new(now, What::Released)))
    }

    /// Its lease ran out. The attempt is given back and the rescue counted, until it has taken too many workers
    /// with it: then it ends as a dead letter. The first rescue may be a batch-mate's fault and is not held
    /// against it; from then on it is claimed alone.
    pub fn rescue(&self, now: Timestamp, limits: &Limits) -> Decision {
        // The lease end that was read is part of the guard: a heartbeat in between saves the lease.
        let guard = Guard { wake_at: Some(self.wake_at), cancel_requested: Some(self.cancel_requested), ..self.held() };
        if self.cancel_requested {
            let sets = [Set::WakeAt(now + limits.cancelled_retention), Set::Lease(None), Set::FinishedAt(Some(now))];
            return self.change(Event::Stop, guard, sets, Some(HistoryEntry::new(now, What::Cancelled)));
        }
        if self.rescues >= limits.max_rescues {
            let error = self.error_of(&Failure {
                code: "worker_lost".into(),
                message: format!("its worker was lost {} times while it ran", self.rescues + 1),
                retryable: false,
                min_delay: Duration::ZERO,
            });
            let entry = failed_entry(now, What::Failed, &error);
            let sets = [
                Set::WakeAt(now + limits.failed_retention),
                Set::Lease(None),
                Set::Rescues(self.rescues + 1),
                Set::FinishedAt(Some(now)),
                Set::FailedAt(Some(now)),
                Set::Error(Some(error)),
            ];
            return self.change(Event::Fail, guard, sets, Some(entry));
        }
        let sets = [
            Set::WakeAt(now),
            Set::Lease(None),
            Set::Attempt(self.attempt.saturating_sub(1)),
            Set::Rescues(self.rescues + 1),
            Set::Rings(0),
        ];
        self.change(Event::Rescue, guard, sets, Some(HistoryEntry::new(now, What::Rescued)))
    }

    /// Somebody wants it stopped: at once if it has not started, else its handler is asked to.
    pub fn cancel(&self, now: Timestamp, limits: &Limits) -> Decision {
        if self.state == State::Running {
            let entry = (!self.cancel_requested).then(|| HistoryEntry::new(now, What::CancelRequested));
            return self.change(Event::RequestCancel, self.held(), [Set::CancelRequested(true)], entry);
        }
        let sets = [Set::WakeAt(now + limits.cancelled_retention), Set::FinishedAt(Some(now))];
        let entry = HistoryEntry::new(now, What::Cancelled);
        self.change(Event::Cancel, Guard::state(self.state), sets, Some(entry))
    }

    /// Its deadline passed before it ran.
    pub fn expire(&self, now: Timestamp, limits: &Limits) -> Decision {
        let error = JobError {
            code: "deadline_exceeded".into(),
            message: "its deadline passed before it could run".into(),
            attempt: self.attempt,
        };
        let entry = failed_entry(now, What::Failed, &error);
        let sets = [
            Set::WakeAt(now + limits.failed_retention),
            Set::FinishedAt(Some(now)),
            Set::FailedAt(Some(now)),
            Set::Error(Some(error)),
        ];
        // It may have been cancelled and set to run again without its deadline meanwhile: at the very time, even, to
        // which a ring had put its clock.
        let guard = Guard {
            claims: Some(self.claims),
            rings: Some(self.rings),
            wake_at: Some(self.wake_at),
            ..Guard::state(self.state)
        };
        self.change(Event::Expire, guard, sets, Some(entry))
    }

    /// Somebody wants an ended job to run again, with so many more attempts. If it has cost a worker before, it
    /// goes on being claimed alone. A deadline that has passed no longer counts: whoever asks knows that it has.
    pub fn run_again(&self, now: Timestamp, more_attempts: u32) -> Decision {
        let guard = Guard { claims: Some(self.claims), wake_at: Some(self.wake_at), ..Guard::state(self.state) };
        let sets = [
            Set::WakeAt(now),
            Set::MaxAttempts(self.max_attempts.saturating_add(more_attempts)),
            Set::Rescues(self.rescues.min(1)),
            Set::Rings(0),
            Set::CancelRequested(false),
            Set::Deadline(self.deadline.filter(|&deadline| deadline > now)),
            Set::FinishedAt(None),
            Set::FailedAt(None),
            Set::Progress(Progress::default()),
        ];
        self.change(Event::RunAgain, guard, sets, Some(HistoryEntry::new(now, What::RetriedByHand)))
    }

    /// It stopped because it was asked to.
    fn stop(&self, now: Timestamp, limits: &Limits) -> Decision {
        let mut sets = self.settled(now + limits.cancelled_retention);
        sets.push(Set::FinishedAt(Some(now)));
        self.change(Event::Stop, self.held(), sets, Some(HistoryEntry::new(now, What::Cancelled)))
    }

    fn wait_in_queue(&self, event: Event, until: Timestamp) -> Decision {
        // A job that was cancelled and set to run again in between counts from the same numbers once more: only
        // its clock tells that nobody has rung for it since.
        let guard = Guard {
            claims: Some(self.claims),
            rings: Some(self.rings),
            wake_at: Some(self.wake_at),
            ..Guard::state(self.state)
        };
        self.change(event, guard, [Set::WakeAt(until), Set::Rings(self.rings + 1)], None)
    }

    /// It still runs under the lease that was read.
    fn held(&self) -> Guard {
        Guard { lease: self.lease, ..Guard::state(self.state) }
    }

    /// What every end of a run sets. A rescue does not: `settled_by` is the worker's proof that its own write
    /// was the one.
    fn settled(&self, wake_at: Timestamp) -> Vec<Set> {
        vec![Set::WakeAt(wake_at), Set::Lease(None), Set::SettledBy(self.lease)]
    }

    fn error_of(&self, failure: &Failure) -> JobError {
        let mut message = failure.message.clone();
        message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
        JobError { code: failure.code.clone(), message, attempt: self.attempt }
    }

    fn change(
        &self,
        event: Event,
        guard: Guard,
        sets: impl IntoIterator<Item = Set>,
        entry: Option<HistoryEntry>,
    ) -> Decision {
        let next = transition(self.state, event)?;
        let moved = (next != self.state).then_some(Set::State(next));
        let sets = moved.into_iter().chain(sets).collect();
        Ok(Change { key: self.key.clone(), guard, sets, payload: None, result: None, entry })
    }

    fn last_entry_is(&self, what: What) -> bool {
        self.history.entries().next_back().is_some_and(|entry| entry.what == what)
    }
}

fn failed_entry(now: Timestamp, what: What, error: &JobError) -> HistoryEntry {
    HistoryEntry {
        attempt: Some(error.attempt),
        code: Some(error.code.clone()),
        message: Some(error.message.clone()),
        ..HistoryEntry::new(now, what)
    }
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times)).min(RING_AGAIN_CAP)
}
