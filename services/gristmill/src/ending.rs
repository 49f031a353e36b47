//! How a command ends, and the code that says so.

use gristmill_common::State;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is well.
    Done,
    /// The job that was waited for has failed.
    JobFailed,
    /// The job that was waited for was cancelled.
    JobCancelled,
}

/// Something else went wrong: no server, a refused request, a bad setting.
pub(crate) const TROUBLE: u8 = 3;
/// The command line is not understood: `EX_USAGE` of sysexits.h. Clap's own 2 means a cancelled job here.
pub(crate) const USAGE: u8 = 64;

impl Ending {
    /// How waiting for a job ends that came to this state.
    pub(crate) fn of(state: State) -> Self {
        match state {
            State::Failed => Self::JobFailed,
            State::Cancelled => Self::JobCancelled,
            State::Scheduled | State::Queued | State::Running | State::Succeeded => Self::Done,
        }
    }

    /// The code that the program ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::JobFailed => 1,
            Self::JobCancelled => 2,
        }
    }
}
