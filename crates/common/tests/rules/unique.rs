//! Unique keys: two submitters of one key, and somebody who comes later.

use std::{sync::LazyLock, time::Duration};

use gristmill_common::{
    Job, JobId, State, Tenant, Timestamp,
    job::{JobKey, While},
    unique::{Held, Next},
};
use stateright::{Model, Property};

use crate::{Rules, breaks, holds, searches_far};

/// Two ticks are as long as a key that names no job is left alone.
const TICK: Duration = Duration::from_secs(5);
/// Who comes later, and finds the key free in the end.
const LATER: usize = 2;

#[test]
fn never_two_hold_a_key_and_it_is_never_stuck() {
    for held in [While::Active, While::Queued] {
        let name = format!("unique while {held:?}");
        let most = if searches_far() { 2 } else { 1 };
        holds(&name, Keepers { held, ticks: 4, deaths: most, replies: 2, left_out: None });
    }
}

#[test]
fn each_rule_of_unique_keys_is_needed() {
    for left_out in [LeftOut::Tombstone, LeftOut::SwapByVersion, LeftOut::LookAtTheHolder, LeftOut::TakeOver] {
        breaks(left_out, Keepers { held: While::Active, ticks: 4, deaths: 1, replies: 1, left_out: Some(left_out) });
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum LeftOut {
    /// A key is taken over without a tombstone.
    Tombstone,
    /// A swap does not look at the version.
    SwapByVersion,
    /// A key is taken from a job that holds it.
    LookAtTheHolder,
    /// A key that names no job is waited for, for ever.
    TakeOver,
}

/// The bounds.
#[derive(Clone, Copy)]
struct Keepers {
    held: While,
    ticks: u8,
    /// Submitters that die. A dead one may come again under its idempotency key.
    deaths: u8,
    /// Writes whose reply is lost: applied, never applied, or applied late.
    replies: u8,
    left_out: Option<LeftOut>,
}

/// Which job a key names, and since which tick.
type Key = Option<(usize, u8)>;

/// A key as somebody read it, and whether it is still that. This is all that a version is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Seen {
    key: Key,
    fresh: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum JobState {
    Queued,
    Running,
    Ended,
    Tombstone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Submitter {
    /// It is about to read the key.
    Begins,
    /// It has read the key, and is about to read the job that it names.
    Looks(Seen),
    /// It is about to insert a tombstone for the job that the key names.
    Buries(Seen),
    /// It is about to swap.
    Takes(Seen),
    /// It is about to insert its job.
    Inserts,
    Accepted,
    Refused,
    Dead,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Late {
    Swap(Seen, Key),
    Insert(usize),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    now: u8,
    key: Key,
    jobs: [Option<JobState>; 3],
    submitters: [Submitter; 3],
    late: Option<Late>,
    deaths: u8,
    replies: u8,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Reply {
    Clear,
    Lost,
    NeverSent,
    Late,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Tick,
    GoOn(usize, Reply),
    /// Its patience is at its end.
    GiveUp(usize),
    Die(usize),
    ComeAgain(usize),
    /// A job is claimed, or ends.
    Run(usize),
    Cancel(usize),
    LateArrives,
}

fn id(job: usize) -> JobId {
    JobId::from_bytes([job as u8; 16])
}

fn moment(tick: u8) -> Timestamp {
    Timestamp::from_millis(0) + TICK * u32::from(tick)
}

/// The real jobs that the states stand for.
static JOBS: LazyLock<[Job; 4]> = LazyLock::new(|| {
    [(State::Queued, 0), (State::Running, 1), (State::Succeeded, 1), (State::Cancelled, 0)].map(|(state, claims)| {
        let key = JobKey { tenant: Tenant::default(), id: id(0) };
        Job { state, claims, ..Job::accepted(key, "sleep".parse().expect("a name"), moment(0)) }
    })
});

impl JobState {
    fn job(self) -> &'static Job {
        &JOBS[self as usize]
    }
}

impl Keepers {
    fn lacks(&self, rule: LeftOut) -> bool {
        self.left_out == Some(rule)
    }

    /// The product's decision on the key as it was read, and on the job as it is.
    fn next(&self, world: &World, me: usize, seen: Seen) -> Next {
        let read = seen.key.map(|(holder, at)| Held::by(id(holder), self.held, moment(at)));
        let holder = seen.key.and_then(|(holder, _)| world.jobs[holder]).map(JobState::job);
        match Held::next(read.as_ref(), holder, id(me), moment(world.now)) {
            Next::Taken(_) if self.lacks(LeftOut::LookAtTheHolder) => Next::Take,
            Next::TakeOver(_) if self.lacks(LeftOut::Tombstone) => Next::Take,
            Next::TakeOver(_) if self.lacks(LeftOut::TakeOver) => Next::Wait,
            next => next,
        }
    }

    fn swap(&self, world: &mut World, seen: Seen, to: Key) -> bool {
        if !seen.fresh && !self.lacks(LeftOut::SwapByVersion) {
            return false;
        }
        world.key = to;
        for submitter in &mut world.submitters {
            if let Submitter::Looks(seen) | Submitter::Buries(seen) | Submitter::Takes(seen) = submitter {
                seen.fresh = false;
            }
        }
        if let Some(Late::Swap(seen, _)) = &mut world.late {
            seen.fresh = false;
        }
        true
    }

    fn go_on(&self, world: &mut World, me: usize, reply: Reply) {
        world.submitters[me] = match world.submitters[me] {
            Submitter::Begins => Submitter::Looks(Seen { key: world.key, fresh: true }),
            Submitter::Looks(seen) => match self.next(world, me, seen) {
                Next::Take => Submitter::Takes(seen),
                Next::Insert => Submitter::Inserts,
                Next::Taken(_) => Submitter::Refused,
                Next::Wait => Submitter::Begins,
                Next::TakeOver(_) => Submitter::Buries(seen),
            },
            Submitter::Buries(seen) => match seen.key {
                Some((holder, _)) if insert(world, holder, JobState::Tombstone) => Submitter::Takes(seen),
                _ => Submitter::Begins,
            },
            Submitter::Takes(seen) => {
                let to = Some((me, world.now));
                let written = match reply {
                    Reply::Clear | Reply::Lost => self.swap(world, seen, to),
                    Reply::NeverSent => false,
                    Reply::Late => {
                        world.late = Some(Late::Swap(seen, to));
                        false
                    }
                };
                if written && reply == Reply::Clear { Submitter::Inserts } else { Submitter::Begins }
            }
            Submitter::Inserts => {
                match reply {
                    Reply::Clear | Reply::Lost => {
                        insert(world, me, JobState::Queued);
                    }
                    Reply::NeverSent => {}
                    Reply::Late => world.late = Some(Late::Insert(me)),
                }
                match world.jobs[me] {
                    _ if reply != Reply::Clear => Submitter::Inserts,
                    Some(JobState::Tombstone) => Submitter::Refused,
                    _ => Submitter::Accepted,
                }
            }
            done => done,
        };
        world.replies += u8::from(reply != Reply::Clear);
    }

    fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => world.now += 1,
            Action::GoOn(me, reply) => self.go_on(world, me, reply),
            Action::GiveUp(me) => world.submitters[me] = Submitter::Refused,
            Action::Die(me) => {
                world.deaths += 1;
                world.submitters[me] = Submitter::Dead;
            }
            Action::ComeAgain(me) => world.submitters[me] = Submitter::Begins,
            Action::Run(job) => {
                world.jobs[job] = world.jobs[job].map(|state| match state {
                    JobState::Queued => JobState::Running,
                    JobState::Running => JobState::Ended,
                    over => over,
                });
            }
            Action::Cancel(job) => world.jobs[job] = Some(JobState::Ended),
            Action::LateArrives => match world.late.take() {
                Some(Late::Swap(seen, to)) => {
                    self.swap(world, seen, to);
                }
                Some(Late::Insert(job)) => {
                    insert(world, job, JobState::Queued);
                }
                None => {}
            },
        }
    }

    /// Whether one who comes later is accepted, once everything else has ended or is gone.
    fn is_free_in_the_end(&self, mut world: World) -> bool {
        world.late = None;
        for job in 0..LATER {
            self.step(&mut world, Action::Run(job));
            self.step(&mut world, Action::Run(job));
            world.submitters[job] = Submitter::Dead;
        }
        for _ in 0..4 {
            for _ in 0..6 {
                self.go_on(&mut world, LATER, Reply::Clear);
            }
            self.step(&mut world, Action::Tick);
        }
        world.submitters[LATER] == Submitter::Accepted
    }
}

/// Inserts a job unless one of its id is there; says whether it did.
fn insert(world: &mut World, job: usize, state: JobState) -> bool {
    let free = world.jobs[job].is_none();
    if free {
        world.jobs[job] = Some(state);
    }
    free
}

impl Rules for Keepers {}

impl Model for Keepers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let submitters = [Submitter::Begins; 3];
        vec![World { now: 0, key: None, jobs: [None; 3], submitters, late: None, deaths: 0, replies: 0 }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.now < self.ticks {
            out.push(Action::Tick);
        }
        for me in 0..LATER {
            match world.submitters[me] {
                Submitter::Accepted | Submitter::Refused => {}
                Submitter::Dead => out.push(Action::ComeAgain(me)),
                at_work => {
                    out.push(Action::GoOn(me, Reply::Clear));
                    out.push(Action::GiveUp(me));
                    if world.deaths < self.deaths {
                        out.push(Action::Die(me));
                    }
                    let writes = matches!(at_work, Submitter::Takes(_) | Submitter::Inserts);
                    if writes && world.replies < self.replies {
                        out.extend([Reply::Lost, Reply::NeverSent, Reply::Late].map(|reply| Action::GoOn(me, reply)));
                    }
                }
            }
            match world.jobs[me] {
                Some(JobState::Queued) => out.extend([Action::Run(me), Action::Cancel(me)]),
                Some(JobState::Running) => out.push(Action::Run(me)),
                _ => {}
            }
        }
        if world.late.is_some() {
            out.push(Action::LateArrives);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.step(&mut next, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two hold the key", |model: &Self, world: &World| {
                let holding = world.jobs.iter().flatten().filter(|state| match model.held {
                    While::Queued => **state == JobState::Queued,
                    _ => matches!(state, JobState::Queued | JobState::Running),
                });
                holding.count() <= 1
            }),
            Property::always("the key is never stuck", |model: &Self, world: &World| {
                model.is_free_in_the_end(world.clone())
            }),
            Property::always("an accepted job is there", |_, world: &World| {
                (0..LATER).all(|me| {
                    let there = world.jobs[me].is_some_and(|state| state != JobState::Tombstone);
                    world.submitters[me] != Submitter::Accepted || there
                })
            }),
            Property::sometimes("both are accepted, one after the other", |_, world: &World| {
                world.submitters[..LATER] == [Submitter::Accepted; LATER]
            }),
            Property::sometimes("one is refused because the other holds the key", |_, world: &World| {
                world.submitters[..LATER] == [Submitter::Accepted, Submitter::Refused] && world.jobs[1].is_none()
            }),
            Property::sometimes("a key is taken over", |_, world: &World| {
                world.jobs.contains(&Some(JobState::Tombstone)) && world.submitters.contains(&Submitter::Accepted)
            }),
            Property::sometimes("a job comes too late for its own key", |_, world: &World| {
                (0..LATER)
                    .any(|me| world.jobs[me] == Some(JobState::Tombstone) && world.submitters[me] == Submitter::Inserts)
            }),
        ]
    }
}
