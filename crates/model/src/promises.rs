//! What is promised of every change, checked against what really happened and not against the record alone.

use gristmill_common::State;

use crate::{
    record::{JobIndex, Lease, Outcome, Record},
    world::{Broken, Duty, World},
};

/// Who wrote a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A worker, together with so many jobs in all.
    Claim { lease: Lease, of: usize },
    /// A worker, at the end of a run.
    Settle { lease: Lease, outcome: Outcome },
    /// A scheduler, or whoever else carries out a plan.
    Duty(Duty),
    /// Somebody who cancels.
    User,
    /// Somebody who runs an ended job again.
    Again,
}

/// Notes what a change that was written means, and whether it broke a promise.
pub(crate) fn watch(world: &mut World, job: JobIndex, before: Record, after: Record, by: By) {
    let truth = world.truth[job];
    if before.state.is_terminal() && by != By::Again {
        world.breaks(Broken::EndedTwice);
    }
    if after.attempt > after.max_attempts {
        world.breaks(Broken::TooManyAttempts);
    }
    if after.cancel_requested && matches!(after.state, State::Scheduled | State::Queued) {
        world.breaks(Broken::WentOnAfterStop);
    }
    match by {
        By::Claim { lease, of } => {
            if truth.run.is_some() {
                world.breaks(Broken::ClaimedTwice);
            }
            if before.rescues > 0 && of > 1 {
                world.breaks(Broken::RescuedInBatch);
            }
            if truth.parked {
                world.breaks(Broken::RanWhileParked);
            }
            (world.truth[job].run, world.truth[job].claimed) = (Some(lease), true);
        }
        By::Settle { lease, outcome } => {
            if truth.settled == Some(lease) {
                world.breaks(Broken::SettledTwice);
            } else if truth.run != Some(lease) {
                world.breaks(Broken::SettledStale);
            }
            let succeeded = outcome == Outcome::Succeed;
            (world.truth[job].run, world.truth[job].settled) = (None, Some(lease));
            world.truth[job].succeeded = succeeded;
        }
        By::Duty(Duty::Rescue) => {
            if before.wake_at > world.now {
                world.breaks(Broken::RescuedAlive);
            }
            world.truth[job].run = None;
        }
        By::Duty(Duty::Mark) => {
            if !truth.rung {
                world.breaks(Broken::MarkedUnrung);
            }
        }
        By::Duty(Duty::Park) => {
            if truth.run.is_some() {
                world.breaks(Broken::ParkedRunning);
            }
            world.truth[job].parked = true;
        }
        By::Duty(Duty::PutOff) => {
            if truth.claimed {
                world.breaks(Broken::PutOffTooLate);
            }
            world.truth[job].put_off = true;
        }
        By::Duty(Duty::Expire) => {
            if truth.forgiven {
                world.breaks(Broken::ExpiredForgiven);
            }
            world.truth[job].expired = true;
        }
        By::Again => (world.truth[job].forgiven, world.truth[job].expired) = (true, false),
        By::Duty(Duty::Due) | By::User => {}
    }
    if after.state != State::Scheduled {
        (world.truth[job].parked, world.truth[job].put_off) = (false, false);
    }
    if after.state == State::Queued && before.state != State::Queued {
        world.truth[job].rung = false;
    }
}
