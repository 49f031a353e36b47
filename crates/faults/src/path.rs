//! Whether a history is a path of the state machine: what `transition` allows, entry by entry.

use std::collections::BTreeSet;

use gristmill_common::{
    State,
    job::{Event, History, HistoryEntry, Job, What, transition},
};

/// What is wrong with the path that a job's history tells of, if anything is.
///
/// Not every step has an entry: a parked job is due, and parked again, without one, and rings and progress never have
/// any. So the path is followed with every state that the job may have been in.
pub(crate) fn fault_of(job: &Job) -> Option<String> {
    let mut may_be = BTreeSet::new();
    let mut ends = 0;
    for (place, entry) in job.history.entries().enumerate() {
        if place == 1 && job.history.omitted() > 0 {
            // Entries are missing here, and with them the path to this one.
            may_be = State::ALL.into();
            ends = 0;
        }
        may_be = after(&may_be, entry);
        if may_be.is_empty() {
            return Some(format!("its history is no path: entry {place} cannot follow: {}", words(&job.history)));
        }
        if may_be.iter().all(|state| state.is_terminal()) {
            ends += 1;
        }
        if entry.what == What::RetriedByHand {
            ends = 0;
        }
    }
    if !may_be.contains(&job.state) {
        return Some(format!("it is {}, and its history ends elsewhere: {}", job.state, words(&job.history)));
    }
    (ends > 1).then(|| format!("it has ended {ends} times: {}", words(&job.history)))
}

/// How often it says this.
pub(crate) fn times(history: &History, what: What) -> u32 {
    history.entries().filter(|entry| entry.what == what).count() as u32
}

/// The history in single words, each with how many milliseconds after the first it was, by the clock of whoever wrote
/// it.
pub(crate) fn words(history: &History) -> String {
    let mut began = None;
    let words = history.entries().map(|entry| {
        let at = entry.at.as_millis();
        format!("{:?}{:+}", entry.what, at - *began.get_or_insert(at))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The states that a job may be in after an entry, from those that it may have been in.
fn after(before: &BTreeSet<State>, entry: &HistoryEntry) -> BTreeSet<State> {
    let events: &[Event] = match entry.what {
        What::Created => return [State::Scheduled, State::Queued].into(),
        What::Due => &[Event::Due],
        What::Parked => &[Event::Park],
        What::Claimed => &[Event::Claim],
        What::CancelRequested => &[Event::RequestCancel],
        What::Succeeded => &[Event::Succeed],
        What::RetryScheduled => &[Event::RetryLater],
        What::Failed => &[Event::Fail, Event::Expire],
        What::Cancelled => &[Event::Cancel, Event::Stop],
        What::Released => &[Event::Release],
        What::Rescued => &[Event::Rescue],
        What::RetriedByHand => &[Event::RunAgain],
    };
    let mut states: BTreeSet<State> = before
        .iter()
        .flat_map(|&state| events.iter().filter_map(move |&event| transition(state, event).ok()))
        .collect();
    if entry.what == What::Parked {
        // The gate may have opened, and nobody says so.
        states.extend(transition(State::Scheduled, Event::Due));
    }
    states
}

#[cfg(test)]
mod tests {
    use gristmill_common::{JobId, Tenant, Timestamp, job::JobKey};

    use super::*;

    fn job(state: State, entries: &[What]) -> Job {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let mut job = Job::accepted(key, "sleep".parse().expect("a name"), Timestamp::from_millis(1));
        job.state = state;
        for &what in entries {
            job.history.push(HistoryEntry::new(Timestamp::from_millis(1), what));
        }
        job
    }

    #[test]
    fn what_can_happen_is_a_path() {
        use What::*;
        for (state, entries) in [
            (State::Succeeded, &[Claimed, Rescued, Claimed, RetryScheduled, Due, Claimed, Succeeded][..]),
            (State::Succeeded, &[Due, Claimed, Succeeded]),
            (State::Succeeded, &[Parked, Claimed, Released, Parked, Claimed, Succeeded]),
            (State::Succeeded, &[Claimed, Failed, RetriedByHand, Claimed, Succeeded]),
            (State::Cancelled, &[Parked, Cancelled]),
            (State::Cancelled, &[Claimed, CancelRequested, Cancelled]),
            (State::Failed, &[Failed]),
        ] {
            assert_eq!(fault_of(&job(state, entries)), None);
        }
    }

    #[test]
    fn what_cannot_happen_is_none() {
        use What::*;
        for (state, entries) in [
            (State::Succeeded, &[Claimed, Rescued, Succeeded][..]),
            (State::Succeeded, &[Claimed, Succeeded, Succeeded]),
            (State::Succeeded, &[Claimed, Claimed, Succeeded]),
            (State::Succeeded, &[Succeeded]),
            (State::Succeeded, &[Claimed, RetryScheduled, Claimed, Succeeded]),
            (State::Queued, &[Claimed, Succeeded]),
            (State::Cancelled, &[Cancelled, Cancelled]),
        ] {
            assert!(fault_of(&job(state, entries)).is_some(), "{entries:?}");
        }
    }

    #[test]
    fn a_gap_is_crossed() {
        let mut rescued = [What::Claimed, What::Rescued].repeat(40);
        rescued.extend([What::Claimed, What::Succeeded]);
        assert_eq!(fault_of(&job(State::Succeeded, &rescued)), None);
        rescued.push(What::Succeeded);
        assert!(fault_of(&job(State::Succeeded, &rescued)).is_some());
    }
}
