//! Slots: two workers, two jobs of one key with a limit of one, and two schedulers that look for leaks.

mod step;
mod world;

use std::hash::{DefaultHasher, Hash, Hasher};

use gristmill_common::limits::{Holder, Slots};
use stateright::{Model, Property};

use crate::{Rules, breaks, holds, searches_far};
use world::{Action, JobState, Reply, Worker, World, job_id, moment};

/// How many jobs of the key may run at once.
const LIMIT: u32 = 1;

#[test]
fn never_two_run_and_every_job_ends() {
    let bounds = |leases, deaths, replies, fails| Keepers { ticks: 2, leases, deaths, replies, fails, left_out: None };
    holds("slots, a death and a lost reply", bounds(2, 1, 1, 0));
    holds("slots, a claim more", bounds(3, 0, 0, 0));
    if searches_far() {
        holds("slots, an attempt that fails", bounds(3, 0, 0, 1));
        holds("slots, a claim more and a death", bounds(3, 1, 0, 0));
    }
}

#[test]
fn each_rule_of_slots_is_needed() {
    for left_out in [
        LeftOut::SlotFirst,
        LeftOut::LookAtTheJob,
        LeftOut::LeakDuty,
        LeftOut::LeaseInTheEntry,
        LeftOut::ReleaseByLease,
        LeftOut::EntriesBesideEachOther,
        LeftOut::LookBeforeTheStart,
        LeftOut::SwapByVersion,
    ] {
        breaks(left_out, Keepers { ticks: 3, leases: 4, deaths: 1, replies: 0, fails: 1, left_out: Some(left_out) });
    }
}

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Debug)]
enum LeftOut {
    /// A worker claims, and runs, and takes its slot then.
    SlotFirst,
    /// Whoever looks for leaks goes by the time in the entry alone.
    LookAtTheJob,
    /// Nobody looks for leaks.
    LeakDuty,
    /// Every entry has the same lease.
    LeaseInTheEntry,
    /// A job's entries are given back together.
    ReleaseByLease,
    /// A new entry of a job takes the place of its old one.
    EntriesBesideEachOther,
    /// A job is run whenever its claim was written, however late that was.
    LookBeforeTheStart,
    /// A swap does not look at the version.
    SwapByVersion,
}

/// The bounds.
#[derive(Clone, Copy)]
struct Keepers {
    ticks: u8,
    leases: u8,
    deaths: u8,
    /// Swaps whose reply is lost: applied, never applied, or applied late.
    replies: u8,
    /// Attempts that fail, so that there is another.
    fails: u8,
    left_out: Option<LeftOut>,
}

impl Rules for Keepers {}

impl Model for Keepers {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            slots: Slots::default(),
            jobs: [JobState::Queued; 2],
            workers: [Worker::Idle, Worker::Idle],
            duties: [None, None],
            late: None,
            leases: 0,
            deaths: 0,
            replies: 0,
            fails: 0,
        }]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        if world.now < self.ticks {
            out.push(Action::Tick);
        }
        for worker in 0..2 {
            match &world.workers[worker] {
                Worker::Idle if world.leases < self.leases => {
                    // A dispatch may be doubled or old: it is looked into whatever the job's state is.
                    let open = (0..2).filter(|&job| world.jobs[job] != JobState::Ended);
                    out.extend(open.map(|job| Action::Read(worker, job)));
                }
                Worker::Idle => {}
                Worker::Takes(..) => {
                    out.push(Action::Take(worker, Reply::Clear));
                    if world.replies < self.replies {
                        out.extend(
                            [Reply::Lost, Reply::NeverSent, Reply::Late].map(|reply| Action::Take(worker, reply)),
                        );
                    }
                }
                Worker::Claims(_) => out.push(Action::Claim(worker)),
                Worker::Runs(_) => {
                    out.extend([Action::Renew(worker), Action::Finish(worker, true)]);
                    if world.fails < self.fails {
                        out.push(Action::Finish(worker, false));
                    }
                }
                Worker::GivesBack(_, None) => out.push(Action::ReadToGiveBack(worker)),
                Worker::GivesBack(..) => out.push(Action::GiveBack(worker)),
            }
            if world.deaths < self.deaths && world.workers[worker] != Worker::Idle {
                out.push(Action::Die(worker));
            }
        }
        for job in 0..2 {
            out.extend([Action::WakeUp(job), Action::Rescue(job)]);
        }
        for scheduler in 0..2 {
            out.push(match world.duties[scheduler] {
                Some(_) => Action::FreeLeaked(scheduler),
                None if self.lacks(LeftOut::LeakDuty) => continue,
                None if world.slots.due_at(moment(world.now)).is_none_or(|due| due > moment(world.now)) => continue,
                None => Action::ReadForLeaks(scheduler),
            });
        }
        if world.late.is_some() {
            out.push(Action::LateArrives);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.step(&mut next, action);
        // Worlds that differ only in the names of workers or of schedulers count as one.
        next.workers.sort_by_key(fingerprint);
        next.duties.sort_by_key(fingerprint);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no more than the limit are at work", |_, world: &World| {
                world.at_work().count() <= LIMIT as usize
            }),
            Property::always("whoever is at work has a slot", |model: &Self, world: &World| {
                world.at_work().all(|claim| {
                    let has =
                        |holder: &Holder| holder.job == job_id(claim.job) && holder.lease == model.entry_lease(claim);
                    world.slots.holders().iter().any(has)
                })
            }),
            Property::always("every job ends if all parts go on", |model: &Self, world: &World| {
                model.all_end(world.clone(), false)
            }),
            Property::always("every job ends if only the store survives", |model: &Self, world: &World| {
                model.all_end(world.clone(), true)
            }),
            Property::sometimes("both jobs end", |_, world: &World| world.all_ended()),
            Property::sometimes("a job waits in line while another runs", |_, world: &World| {
                world.at_work().count() == 1 && world.slots.waiting().count() == 1
            }),
            Property::sometimes("a job has two entries", |_, world: &World| {
                world.slots.holders().len() > world.slots.held()
            }),
        ]
    }
}

fn fingerprint(part: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    part.hash(&mut hasher);
    hasher.finish()
}
