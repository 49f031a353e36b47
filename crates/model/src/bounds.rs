//! How far the search goes, and the faults that are built in to show that it would find them.

/// How much of everything there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) jobs: u8,
    pub(crate) workers: u8,
    pub(crate) schedulers: u8,
    pub(crate) attempts: u8,
    /// Runs that fail.
    pub(crate) failures: u8,
    /// How often a job's broker may be rung again while it waits.
    pub(crate) rings: u8,
    /// How far time goes, in ticks.
    pub(crate) ticks: u8,
    /// Messages about one job that ringing makes at most, without a doubled one.
    pub(crate) messages: u8,
    pub(crate) lost: u8,
    pub(crate) doubled: u8,
    /// Workers that die with all that they hold.
    pub(crate) deaths: u8,
    /// Writes whose reply is lost: applied, never applied, or applied late.
    pub(crate) replies: u8,
    /// Whose replies may be lost.
    pub(crate) replies_to: Asker,
    pub(crate) cancels: u8,
    pub(crate) releases: u8,
    /// Retries by hand.
    pub(crate) again: u8,
    /// Gates that a worker finds shut.
    pub(crate) parks: u8,
    /// Submissions of a job's key that put it off. Jobs are accepted for a later time if there may be any.
    pub(crate) put_offs: u8,
    /// Deadlines that pass before their job has run.
    pub(crate) expires: u8,
}

/// Whose replies may be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Asker {
    /// A worker that claims, renews or settles.
    Any,
    /// A worker that claims.
    Claimer,
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { jobs, workers, schedulers, attempts, failures, rings, .. } = self;
        let Self {
            ticks,
            messages,
            lost,
            doubled,
            deaths,
            replies,
            cancels,
            releases,
            again,
            parks,
            put_offs,
            expires,
            ..
        } = self;
        write!(
            f,
            "jobs {jobs}, workers {workers}, schedulers {schedulers}, attempts {attempts}, failures {failures}, rings {rings}, \
             ticks {ticks}, messages {messages}; lost {lost}, doubled {doubled}, deaths {deaths}, lost replies {replies}, \
             cancels {cancels}, releases {releases}, retries by hand {again}, parks {parks}, put-offs {put_offs}, deadlines {expires}"
        )
    }
}

/// One rule left out, to see that something breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// A settle does not look at the lease.
    SettleWithoutLease,
    /// A settle does not look at the state.
    SettleWithoutState,
    /// A failure does not look at whether a stop was asked for.
    FailWithoutCancel,
    /// A rescue does not look at the lease's end that was read.
    RescueWithoutWakeAt,
    /// A rescue does not look at the lease.
    RescueWithoutLease,
    /// A rescue leaves its lease behind as if that had settled.
    RescueSigned,
    /// A claim does not look at the state.
    ClaimWithoutState,
    /// A batch claim takes rescued jobs too.
    BatchTakesRescued,
    /// A claim that is tried again goes under the same lease.
    LeaseReused,
    /// A mark looks at nothing but the state.
    MarkWithoutCounts,
    /// A mark looks at the counts, and not at the clock.
    MarkWithoutClock,
    /// A renewal that comes late moves the lease's end back.
    RenewMovesBack,
    /// A worker that lost a settle's reply takes it for refused.
    NoReadBack,
    /// A claim takes parked jobs too.
    ClaimTakesParked,
    /// A park does not look at the state.
    ParkWithoutState,
    /// A put-off looks at nothing but the state.
    PutOffWithoutCounts,
    /// An expiry looks at nothing but the state.
    ExpireWithoutClock,
    /// Nobody rings again.
    NoRedispatch,
    /// Nobody rescues.
    NoRescue,
    /// Nobody looks at jobs whose time has come.
    NoDue,
}
