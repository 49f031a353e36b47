//! What is searched. Every fault multiplies the states, so each search combines a few of them.

use crate::bounds::{Asker, Bounds, Sabotage};

/// One search of the protocol as it is.
pub(crate) struct Search {
    pub(crate) name: &'static str,
    pub(crate) bounds: Bounds,
    pub(crate) when: When,
}

/// Whether a search fits into every run of the tests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// Only with `GRISTMILL_MODEL=full`.
    Full,
}

/// One job and no faults.
const ONE_JOB: Bounds = Bounds {
    jobs: 1,
    workers: 2,
    schedulers: 2,
    attempts: 2,
    failures: 2,
    rings: 1,
    ticks: 2,
    messages: 1,
    lost: 0,
    doubled: 0,
    deaths: 0,
    replies: 0,
    replies_to: Asker::Any,
    cancels: 0,
    releases: 0,
    again: 0,
    parks: 0,
    put_offs: 0,
    expires: 0,
};

/// Two jobs that may be claimed together, and no faults.
const TWO_JOBS: Bounds = Bounds { jobs: 2, attempts: 1, failures: 0, ticks: 1, ..ONE_JOB };

pub(crate) const SEARCHES: &[Search] = &[
    Search {
        name: "one job, messages lost and doubled, a worker's death",
        bounds: Bounds { messages: 2, lost: 1, doubled: 1, deaths: 1, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "one job, a lost reply, a cancel",
        bounds: Bounds { replies: 1, cancels: 1, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "one job, released, cancelled, run again by hand",
        bounds: Bounds { releases: 1, cancels: 1, again: 1, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "two jobs, a claim's lost reply",
        bounds: Bounds { replies: 1, replies_to: Asker::Claimer, ..TWO_JOBS },
        when: When::Always,
    },
    Search { name: "two jobs, a worker's death", bounds: Bounds { deaths: 1, ..TWO_JOBS }, when: When::Always },
    Search {
        name: "one job, one attempt, parked, a message doubled, a worker's death",
        bounds: Bounds { attempts: 1, failures: 0, parks: 1, doubled: 1, deaths: 1, ticks: 3, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "one job, put off twice, a message lost and one doubled, a worker's death",
        bounds: Bounds { put_offs: 2, lost: 1, doubled: 1, deaths: 1, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "one job, one attempt, its deadline, cancelled, run again by hand",
        bounds: Bounds { attempts: 1, failures: 0, expires: 1, cancels: 1, again: 1, ..ONE_JOB },
        when: When::Always,
    },
    Search {
        name: "one job, parked, a worker's death, a cancel",
        bounds: Bounds { parks: 1, deaths: 1, cancels: 1, ticks: 3, ..ONE_JOB },
        when: When::Full,
    },
    Search {
        name: "one job, its deadline, released, cancelled, run again by hand",
        bounds: Bounds { expires: 1, releases: 1, cancels: 1, again: 1, ..ONE_JOB },
        when: When::Full,
    },
    Search {
        name: "one job, put off, parked, its deadline",
        bounds: Bounds { parks: 1, put_offs: 1, expires: 1, ticks: 3, ..ONE_JOB },
        when: When::Full,
    },
    Search { name: "two jobs, one parked", bounds: Bounds { parks: 1, ticks: 2, ..TWO_JOBS }, when: When::Full },
    Search {
        name: "two jobs, messages lost and doubled",
        bounds: Bounds { lost: 1, doubled: 1, ..TWO_JOBS },
        when: When::Full,
    },
    Search {
        name: "two jobs, two attempts, a failure",
        bounds: Bounds { attempts: 2, failures: 1, ..TWO_JOBS },
        when: When::Full,
    },
    Search { name: "two jobs, any lost reply", bounds: Bounds { replies: 1, ..TWO_JOBS }, when: When::Full },
    Search { name: "one job, two lost replies", bounds: Bounds { replies: 2, ..ONE_JOB }, when: When::Full },
    Search {
        name: "one job, every fault but lost replies",
        bounds: Bounds { lost: 1, doubled: 1, deaths: 1, cancels: 1, releases: 1, ..ONE_JOB },
        when: When::Full,
    },
];

/// Each rule that is left out in turn, and bounds within which that must show.
pub(crate) const SABOTAGED: &[(Sabotage, Bounds)] = &[
    (Sabotage::SettleWithoutLease, ONE_JOB),
    (Sabotage::SettleWithoutState, ONE_JOB),
    (Sabotage::FailWithoutCancel, Bounds { cancels: 1, ..ONE_JOB }),
    (Sabotage::RescueWithoutWakeAt, ONE_JOB),
    (Sabotage::RescueWithoutLease, ONE_JOB),
    (Sabotage::RescueSigned, ONE_JOB),
    (Sabotage::ClaimWithoutState, Bounds { doubled: 1, ..ONE_JOB }),
    (Sabotage::BatchTakesRescued, TWO_JOBS),
    (Sabotage::LeaseReused, Bounds { replies: 1, replies_to: Asker::Claimer, ..ONE_JOB }),
    (Sabotage::MarkWithoutCounts, ONE_JOB),
    (Sabotage::MarkWithoutClock, Bounds { cancels: 1, again: 1, ..ONE_JOB }),
    (Sabotage::RenewMovesBack, Bounds { replies: 1, ..ONE_JOB }),
    (Sabotage::NoReadBack, Bounds { replies: 1, ..ONE_JOB }),
    (Sabotage::ClaimTakesParked, Bounds { parks: 1, doubled: 1, ..ONE_JOB }),
    (Sabotage::ParkWithoutState, Bounds { parks: 1, doubled: 1, ..ONE_JOB }),
    (Sabotage::PutOffWithoutCounts, Bounds { put_offs: 1, ..ONE_JOB }),
    (Sabotage::ExpireWithoutClock, Bounds { expires: 1, cancels: 1, again: 1, ..ONE_JOB }),
    (Sabotage::NoRedispatch, ONE_JOB),
    (Sabotage::NoRescue, ONE_JOB),
    (Sabotage::NoDue, ONE_JOB),
];
