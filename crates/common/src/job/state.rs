//! The states of a job, what can happen to it, and the one function that says which may follow which.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands. `docs/states.md` has the drawing; a test holds the two together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its time, or for its next attempt. `wake_at`: that time.
    Scheduled,
    /// May run as soon as a worker claims it. `wake_at`: when to ring the broker, again if need be.
    Queued,
    /// A worker holds its lease. `wake_at`: when the lease ends, unless it is renewed.
    Running,
    /// Ended well; the result is stored. `wake_at`: when it may be purged.
    Succeeded,
    /// Ended badly, and stays as a dead letter that may be run again. `wake_at`: when it may be purged.
    Failed,
    /// Ended because somebody asked for it. `wake_at`: when it may be purged.
    Cancelled,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Whether the job has ended: only a retry by hand leads on from here.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Its time has come.
    Due,
    /// The broker was rung for it.
    Ring,
    /// Nobody could take it just now: ring again later.
    Postpone,
    /// A gate was shut: it waits outside the queue, and is due again when the gate may be open.
    Park,
    /// Another submission of its debounced key came before it was due.
    PutOff,
    /// A worker took it, under a lease.
    Claim,
    /// Its handler said how far it has come.
    Progress,
    /// Somebody asked the running job to stop.
    RequestCancel,
    /// Its handler returned a result.
    Succeed,
    /// An attempt failed, and another will be made.
    RetryLater,
    /// The last attempt failed.
    Fail,
    /// It stopped because it was asked to.
    Stop,
    /// Its worker gave it back unharmed, as when it drains: the attempt is not charged.
    Release,
    /// Its lease ran out: the attempt is not charged, the rescue is counted.
    Rescue,
    /// Somebody cancelled it before it ran.
    Cancel,
    /// Its deadline passed before it ran.
    Expire,
    /// Somebody wants an ended job to run again.
    RunAgain,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 17] = [
        Self::Due,
        Self::Ring,
        Self::Postpone,
        Self::Park,
        Self::PutOff,
        Self::Claim,
        Self::Progress,
        Self::RequestCancel,
        Self::Succeed,
        Self::RetryLater,
        Self::Fail,
        Self::Stop,
        Self::Release,
        Self::Rescue,
        Self::Cancel,
        Self::Expire,
        Self::RunAgain,
    ];

    /// The word in the drawing, the history and the logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Ring => "ring",
            Self::Postpone => "postpone",
            Self::Park => "park",
            Self::PutOff => "put_off",
            Self::Claim => "claim",
            Self::Progress => "progress",
            Self::RequestCancel => "request_cancel",
            Self::Succeed => "succeed",
            Self::RetryLater => "retry_later",
            Self::Fail => "fail",
            Self::Stop => "stop",
            Self::Release => "release",
            Self::Rescue => "rescue",
            Self::Cancel => "cancel",
            Self::Expire => "expire",
            Self::RunAgain => "run_again",
        }
    }
}

/// The event cannot happen to a job in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {state} job cannot {}", event.as_str())]
pub struct IllegalTransition {
    /// The state that the job is in.
    pub state: State,
    /// What was to happen to it.
    pub event: Event,
}

/// The state that follows.
///
/// # Errors
/// Every move that `docs/states.md` does not draw is refused.
pub fn transition(state: State, event: Event) -> Result<State, IllegalTransition> {
    use Event as E;
    use State as S;
    Ok(match (state, event) {
        (S::Scheduled, E::Due) => S::Queued,
        (S::Scheduled | S::Queued, E::Cancel) => S::Cancelled,
        (S::Scheduled | S::Queued, E::Expire) => S::Failed,
        (S::Scheduled, E::PutOff) => S::Scheduled,
        (S::Queued, E::Ring | E::Postpone) => S::Queued,
        (S::Queued, E::Park) => S::Scheduled,
        (S::Queued, E::Claim) => S::Running,
        (S::Running, E::Progress | E::RequestCancel) => S::Running,
        (S::Running, E::Succeed) => S::Succeeded,
        (S::Running, E::RetryLater) => S::Scheduled,
        (S::Running, E::Fail) => S::Failed,
        (S::Running, E::Stop) => S::Cancelled,
        (S::Running, E::Release | E::Rescue) => S::Queued,
        (S::Failed | S::Cancelled, E::RunAgain) => S::Queued,
        (state, event) => return Err(IllegalTransition { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The arrows of the mermaid drawing: `from --> to: event`.
    fn drawn() -> BTreeSet<(String, String, String)> {
        let page = include_str!("../../../../docs/states.md");
        let drawing = page.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next()).expect("a drawing");
        drawing
            .lines()
            .filter(|line| line.contains("-->") && !line.contains("[*]"))
            .flat_map(|line| {
                let (from, rest) = line.split_once("-->").expect("an arrow");
                let (to, events) = rest.split_once(':').expect("a label");
                let (from, to) = (from.trim().to_owned(), to.trim().to_owned());
                events
                    .split(',')
                    .map(move |event| (from.clone(), to.clone(), event.trim().to_owned()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn the_drawing_shows_every_move_and_no_other() {
        let mut coded = BTreeSet::new();
        for state in State::ALL {
            for event in Event::ALL {
                if let Ok(next) = transition(state, event) {
                    coded.insert((state.to_string(), next.to_string(), event.as_str().to_owned()));
                }
            }
        }
        assert_eq!(coded, drawn());
    }

    #[test]
    fn the_page_tells_what_every_state_and_event_means() {
        let page = include_str!("../../../../docs/states.md");
        for word in State::ALL.map(State::as_str).into_iter().chain(Event::ALL.map(Event::as_str)) {
            assert!(page.contains(&format!("| `{word}` |")), "docs/states.md has no row for `{word}`");
        }
    }

    #[test]
    fn only_a_retry_by_hand_leads_on_from_a_terminal_state() {
        for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
            for event in Event::ALL.into_iter().filter(|&event| event != Event::RunAgain) {
                assert_eq!(transition(state, event), Err(IllegalTransition { state, event }));
            }
        }
        assert!(transition(State::Succeeded, Event::RunAgain).is_err());
    }
}
