//! The firing of a schedule: two schedulers that both lead, a schedule of every minute, and somebody who deletes
//! jobs that have run.

use std::{array, collections::BTreeSet, sync::LazyLock, time::Duration};

use gristmill_common::{
    JobId, ScheduleId, Tenant, Timestamp,
    job::{Backoff, Gates, Priority},
    schedule::{Firings, JobTemplate, Missed, Overlap, ScheduleRecord},
};
use stateright::{Model, Property};

use crate::{Rules, breaks, holds, searches_far};

/// A tick is a minute, so each is an instant; and a leader's lease, so a reading is old after one.
const TICK: Duration = Duration::from_secs(60);
const LEADER_LEASE: Duration = TICK;
/// Shorter than a tick: an instant is in time in its own tick, and missed in the next.
const GRACE: Duration = Duration::from_secs(30);
/// Instants that may be reached, the first of which has passed at the beginning.
const INSTANTS: usize = 6;
/// How many ticks after its firing was noted a job is deleted at the earliest: more than a leader's lease.
const DELETED_AFTER: u8 = 2;

#[test]
fn each_instant_fires_once_and_none_is_lost() {
    holds("cron, three instants", Keepers { ticks: 3, deaths: 2, replies: 1, deletions: 0, left_out: None });
    holds("cron, a deletion", Keepers { ticks: 4, deaths: 1, replies: 1, deletions: 1, left_out: None });
    if searches_far() {
        holds("cron, two deletions", Keepers { ticks: 5, deaths: 1, replies: 1, deletions: 2, left_out: None });
    }
}

#[test]
fn each_rule_of_firing_is_needed() {
    for left_out in [
        LeftOut::InsertFirst,
        LeftOut::IdOfTheInstant,
        LeftOut::LookAtTheAge,
        LeftOut::SwapByVersion,
        LeftOut::LateDeletion,
    ] {
        breaks(left_out, Keepers { ticks: 4, deaths: 1, replies: 1, deletions: 1, left_out: Some(left_out) });
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum LeftOut {
    /// The record is advanced before the jobs are inserted.
    InsertFirst,
    /// Each job gets a fresh id.
    IdOfTheInstant,
    /// A leader that was frozen goes on with what it read.
    LookAtTheAge,
    /// A swap does not look at the version.
    SwapByVersion,
    /// A job is deleted within a leader's lease of its firing. This is no rule of the product's: it is the one way
    /// in which an instant may fire twice, if two leaders are at it just then.
    LateDeletion,
}

/// The bounds.
#[derive(Clone, Copy)]
struct Keepers {
    ticks: u8,
    deaths: u8,
    /// Writes whose reply is lost: applied, never applied, or, if it is an insert, applied late.
    replies: u8,
    deletions: u8,
    left_out: Option<LeftOut>,
}

/// What a leader has decided and is carrying out.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Firing {
    decided_at: u8,
    /// Whether the record is still as it was read. This is all that a version is for.
    fresh: bool,
    /// The `fired_through` that was read.
    read: u8,
    inserted: usize,
    advanced: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    now: u8,
    fired_through: u8,
    leaders: [Option<Firing>; 2],
    /// The jobs that are there.
    jobs: BTreeSet<JobId>,
    /// How many jobs were ever made of each instant, and when its firing was noted.
    made: [u8; INSTANTS],
    noted: [Option<u8>; INSTANTS],
    /// An insert that is on its way, though its sender has given it up. It arrives within its tick, or never.
    late: Option<usize>,
    deaths: u8,
    replies: u8,
    deletions: u8,
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
    Read(usize),
    GoOn(usize, Reply),
    Die(usize),
    Delete(usize),
    LateArrives,
}

/// The real schedule.
static RECORD: LazyLock<ScheduleRecord> = LazyLock::new(|| ScheduleRecord {
    v: Default::default(),
    id: ScheduleId::from_bytes([1; 16]),
    tenant: Tenant::default(),
    name: "every-minute".parse().expect("a name"),
    cron: "* * * * *".parse().expect("a pattern"),
    time_zone: "UTC".parse().expect("a time zone"),
    template: JobTemplate {
        job_type: "sleep".parse().expect("a name"),
        payload: "{}".into(),
        queue: "default".parse().expect("a name"),
        priority: Priority::Normal,
        max_attempts: 1,
        backoff: Backoff::None {},
        timeout_ms: 1,
        tags: Vec::new(),
        gates: Gates::default(),
    },
    missed: Missed::FireAll,
    overlap: Overlap::Allow,
    paused: false,
    fired_through: moment(0),
    last_job: None,
    created_at: moment(0),
    updated_at: moment(0),
});

/// The product's decisions on every reading, by the `fired_through` and then by the tick.
static FIRINGS: LazyLock<[[Firings; INSTANTS]; INSTANTS]> = LazyLock::new(|| {
    array::from_fn(|read| {
        let record = ScheduleRecord { fired_through: moment(read as u8), ..RECORD.clone() };
        array::from_fn(|now| record.firings(moment(now as u8), GRACE))
    })
});

/// The product's ids of the instants' jobs.
static IDS: LazyLock<[JobId; INSTANTS]> =
    LazyLock::new(|| array::from_fn(|instant| RECORD.job(moment(instant as u8), moment(0)).job.key.id));

fn moment(tick: u8) -> Timestamp {
    Timestamp::from_millis(0) + TICK * u32::from(tick)
}

fn tick(at: Timestamp) -> usize {
    (at.as_millis() / moment(1).as_millis()) as usize
}

impl Firing {
    /// The product's decision, made on what was read when it was read.
    fn firings(&self) -> &'static Firings {
        &FIRINGS[usize::from(self.read)][usize::from(self.decided_at)]
    }
}

impl Keepers {
    fn lacks(&self, rule: LeftOut) -> bool {
        self.left_out == Some(rule)
    }

    fn insert(&self, world: &mut World, instant: usize) {
        let id = if self.lacks(LeftOut::IdOfTheInstant) {
            JobId::from_bytes([world.made.iter().sum(); 16])
        } else {
            IDS[instant]
        };
        if world.jobs.insert(id) {
            world.made[instant] += 1;
        }
    }

    fn advance(&self, world: &mut World, firing: &Firing, firings: &Firings) -> bool {
        if !firing.fresh && !self.lacks(LeftOut::SwapByVersion) {
            return false;
        }
        world.fired_through = tick(firings.through) as u8;
        for instant in &firings.instants {
            world.noted[tick(*instant)].get_or_insert(world.now);
        }
        for firing in world.leaders.iter_mut().flatten() {
            firing.fresh = false;
        }
        true
    }

    /// A leader's next write: an instant's job, or the record.
    fn go_on(&self, world: &mut World, leader: usize, reply: Reply) {
        let Some(mut firing) = world.leaders[leader].take() else { return };
        let firings = firing.firings();
        let written = matches!(reply, Reply::Clear | Reply::Lost);
        world.replies += u8::from(reply != Reply::Clear);
        let advance_now =
            if self.lacks(LeftOut::InsertFirst) { !firing.advanced } else { firing.inserted == firings.instants.len() };
        if advance_now {
            let advanced = written && self.advance(world, &firing, firings);
            firing.advanced = true;
            // It is done, but for one that has advanced first.
            let goes_on = self.lacks(LeftOut::InsertFirst) && advanced && reply == Reply::Clear;
            world.leaders[leader] = goes_on.then_some(firing);
            return;
        }
        let stale = firings.is_stale(moment(world.now), LEADER_LEASE) && !self.lacks(LeftOut::LookAtTheAge);
        let Some(&instant) = firings.instants.get(firing.inserted).filter(|_| !stale) else { return };
        if written {
            self.insert(world, tick(instant));
        } else if reply == Reply::Late {
            world.late = Some(tick(instant));
        }
        firing.inserted += 1;
        // Whoever does not know whether it was written reads again.
        world.leaders[leader] = (reply == Reply::Clear).then_some(firing);
    }

    fn step(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => {
                world.now += 1;
                world.late = None;
            }
            Action::Read(leader) => {
                let (decided_at, read) = (world.now, world.fired_through);
                world.leaders[leader] = Some(Firing { decided_at, fresh: true, read, inserted: 0, advanced: false });
            }
            Action::GoOn(leader, reply) => self.go_on(world, leader, reply),
            Action::Die(leader) => {
                world.deaths += 1;
                world.leaders[leader] = None;
            }
            Action::Delete(instant) => {
                world.deletions += 1;
                world.jobs.remove(&IDS[instant]);
            }
            Action::LateArrives => {
                if let Some(instant) = world.late.take() {
                    self.insert(world, instant);
                }
            }
        }
    }

    /// Whether one leader that goes on alone fires all that has come.
    fn all_fire_in_the_end(&self, mut world: World) -> bool {
        (world.leaders, world.late) = ([None, None], None);
        self.step(&mut world, Action::Read(0));
        for _ in 0..=INSTANTS {
            self.go_on(&mut world, 0, Reply::Clear);
        }
        (1..=usize::from(world.now)).all(|instant| world.made[instant] > 0)
    }
}

impl Rules for Keepers {}

impl Model for Keepers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            fired_through: 0,
            leaders: [None, None],
            jobs: BTreeSet::new(),
            made: [0; INSTANTS],
            noted: [None; INSTANTS],
            late: None,
            deaths: 0,
            replies: 0,
            deletions: 0,
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.now < self.ticks {
            out.push(Action::Tick);
        }
        for leader in 0..2 {
            let Some(firing) = &world.leaders[leader] else {
                if world.fired_through < world.now {
                    out.push(Action::Read(leader));
                }
                continue;
            };
            out.push(Action::GoOn(leader, Reply::Clear));
            if world.deaths < self.deaths {
                out.push(Action::Die(leader));
            }
            if world.replies < self.replies {
                out.extend([Reply::Lost, Reply::NeverSent].map(|reply| Action::GoOn(leader, reply)));
                if firing.inserted < firing.firings().instants.len() {
                    out.push(Action::GoOn(leader, Reply::Late));
                }
            }
        }
        if world.deletions < self.deletions {
            let old = (1..INSTANTS).filter(|&instant| {
                world.noted[instant]
                    .is_some_and(|noted| self.lacks(LeftOut::LateDeletion) || world.now >= noted + DELETED_AFTER)
            });
            out.extend(old.map(Action::Delete));
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
        let mut all = vec![
            Property::always("no instant fires twice", |_, world: &World| world.made.iter().all(|&made| made <= 1)),
            Property::always("what is noted as fired was fired", |_, world: &World| {
                (1..=usize::from(world.fired_through)).all(|instant| world.made[instant] > 0)
            }),
            Property::always("every instant fires in the end", |model: &Self, world: &World| {
                model.all_fire_in_the_end(world.clone())
            }),
            Property::sometimes("three instants have fired", |_, world: &World| world.made[1..4] == [1; 3]),
            Property::sometimes("both leaders fire the same", |_, world: &World| {
                let [Some(one), Some(other)] = &world.leaders else { return false };
                one.fresh && one == other && one.inserted > 0
            }),
            Property::sometimes("a leader is too late", |_, world: &World| {
                world.leaders.iter().flatten().any(|one| !one.fresh && world.now > one.decided_at + 1)
            }),
        ];
        if self.deletions > 0 {
            all.push(Property::sometimes("a job is deleted before a frozen leader wakes up", |_, world: &World| {
                let frozen = world.leaders.iter().flatten().any(|one| !one.fresh && one.inserted == 0);
                frozen && world.deletions > 0
            }));
        }
        all
    }
}
