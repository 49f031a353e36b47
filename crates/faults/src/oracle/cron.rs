//! What is promised of a schedule that fires each second.

use std::collections::BTreeSet;

use gristmill_common::{
    State, Timestamp,
    schedule::{CATCH_UP, Missed, Overlap, ScheduleRecord},
};

use super::{
    Promise,
    keys::{Group, Rule},
};

const SECOND: i64 = 1_000;

/// What becomes of the jobs of a schedule.
pub(super) fn promise_of(overlap: Overlap) -> Promise {
    const ALONE: Rule = Rule::AtOnce(1);
    match overlap {
        Overlap::Allow => Promise::SUCCEEDS,
        Overlap::Skip => {
            let group = Group { name: "a schedule that skips", rule: ALONE };
            Promise { group: Some(group), ..Promise::SUCCEEDS }
        }
        Overlap::Replace => {
            let group = Group { name: "a schedule that replaces", rule: ALONE };
            Promise { group: Some(group), ..Promise::of(&[State::Succeeded, State::Cancelled], &[]) }
        }
    }
}

/// What is wrong with the instants that were fired, by the schedule as it was at its end.
pub(super) fn fault_of(schedule: &ScheduleRecord, fired: &BTreeSet<Timestamp>) -> Option<String> {
    if schedule.overlap == Overlap::Skip {
        return None;
    }
    let first = schedule.created_at.as_millis() / SECOND + 1;
    let seconds: Vec<i64> = (first..=schedule.fired_through.as_millis() / SECOND).collect();
    let is_fired = |second: &i64| fired.contains(&Timestamp::from_millis(second * SECOND));
    let missing = match schedule.missed {
        Missed::Skip => None,
        Missed::FireOnce => seconds.last().filter(|second| !is_fired(second)),
        Missed::FireAll => last_missing(&seconds, is_fired),
    };
    missing.map(|second| {
        let (at, through) = (Timestamp::from_millis(second * SECOND), schedule.fired_through);
        let missing = seconds.iter().filter(|second| !is_fired(second)).map(|second| second - first + 1);
        let missing: Vec<String> = missing.map(|place| place.to_string()).collect();
        format!(
            "the schedule of {} ({:?}, {:?}) has not fired at {at}, and is through to {through}; of its instants it lacks {}",
            schedule.created_at,
            schedule.missed,
            schedule.overlap,
            missing.join(", ")
        )
    })
}

/// The last second that has not fired. Of more than can be fired at one time, the last are: what comes before so many
/// in a row may have been let go.
fn last_missing(seconds: &[i64], is_fired: impl Fn(&i64) -> bool) -> Option<&i64> {
    let mut in_a_row = 0;
    for second in seconds.iter().rev() {
        if !is_fired(second) {
            return Some(second);
        }
        in_a_row += 1;
        if in_a_row == CATCH_UP {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_that_did_not_fire_is_found_unless_it_was_let_go() {
        let seconds: Vec<i64> = (0..150).collect();
        let missing = |gaps: &[i64]| last_missing(&seconds, |second| !gaps.contains(second)).copied();
        assert_eq!(missing(&[]), None);
        assert_eq!(missing(&[149]), Some(149));
        assert_eq!(missing(&[3, 50]), Some(50));
        assert_eq!(missing(&[3, 49]), None);
    }
}
