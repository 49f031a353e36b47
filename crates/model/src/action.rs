//! What can happen next, within the bounds.

use gristmill_common::State;

use crate::{
    bounds::{Asker, Bounds, Sabotage},
    record::{JobIndex, LEASE, Outcome},
    world::{Batch, Duty, World},
};

/// What became of a write and its reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// It is written, or refused, and the reply says which.
    Clear,
    /// It is written, or refused; no reply.
    Lost,
    /// It never reached the store; no reply.
    NeverSent,
    /// No reply, and it reaches the store some time later.
    Late,
}

/// One step of one of the parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Submit(JobIndex),
    Publish(JobIndex),
    ReadForCancel(JobIndex),
    WriteCancel,
    RunAgain(JobIndex),
    Lose(JobIndex),
    Double(JobIndex),
    Deliver(usize, JobIndex),
    Claim(usize, Batch, Reply),
    ReadBack(usize),
    Ack(usize, JobIndex),
    Renew(usize, Reply),
    Settle(usize, JobIndex, Outcome, Reply),
    Resolve(usize, JobIndex),
    Die(usize),
    /// A scheduler rings the broker for a job whose time to be rung has come, and will mark it.
    Ring(usize, JobIndex),
    /// A submitter, or a scheduler, reads a job that was rung and will mark it.
    Read(usize, Duty, JobIndex),
    Write(usize),
    LateArrives,
    Tick,
}

const REPLIES: [Reply; 4] = [Reply::Clear, Reply::Lost, Reply::NeverSent, Reply::Late];
/// How many messages a worker has in hand at most.
const PREFETCH: u8 = 2;

/// Every step that is possible from here.
pub(crate) fn actions(world: &World, bounds: &Bounds, sabotage: Option<Sabotage>, out: &mut Vec<Action>) {
    let may = |duty| allowed(sabotage, duty);
    if world.late.is_some() {
        out.push(Action::LateArrives);
    }
    if world.now < bounds.ticks {
        out.push(Action::Tick);
    }
    if world.cancel.is_some() {
        out.push(Action::WriteCancel);
    }
    for job in 0..usize::from(bounds.jobs) {
        let Some(record) = world.jobs[job] else {
            // The jobs differ in nothing, so the order of their submissions does not matter.
            if job == 0 || world.jobs[job - 1].is_some() {
                out.push(Action::Submit(job));
            }
            continue;
        };
        if world.unpublished[job] {
            out.push(Action::Publish(job));
        }
        if world.spent.cancels < bounds.cancels && !record.state.is_terminal() && world.cancel.is_none() {
            out.push(Action::ReadForCancel(job));
        }
        let ended = matches!(record.state, State::Failed | State::Cancelled);
        if ended && world.spent.again < bounds.again && world.now < bounds.ticks {
            out.push(Action::RunAgain(job));
        }
        if world.broker[job] > 0 {
            if world.spent.lost < bounds.lost {
                out.push(Action::Lose(job));
            }
            if world.spent.doubled < bounds.doubled {
                out.push(Action::Double(job));
            }
        }
        let ringable = record.state == State::Queued && record.rings < bounds.rings;
        let woken = record.wake_at <= world.now;
        if let Some(scheduler) = idle(world, bounds) {
            if ringable && woken && world.messages(job) < bounds.messages && may(Duty::Mark) {
                out.push(Action::Ring(scheduler, job));
            }
            if ringable && world.truth[job].rung {
                out.push(Action::Read(scheduler, Duty::Mark, job));
            }
            // A gate that is open again is told of before its time.
            let opened = world.truth[job].parked && world.now < bounds.ticks;
            if (woken || opened) && record.state == State::Scheduled && may(Duty::Due) {
                out.push(Action::Read(scheduler, Duty::Due, job));
            }
            if woken && record.state == State::Running && may(Duty::Rescue) {
                out.push(Action::Read(scheduler, Duty::Rescue, job));
            }
            let at_hand = world.workers.iter().any(|worker| worker.hand[job] > 0 && worker.runs[job].is_none());
            if record.state == State::Queued && at_hand && world.spent.parks < bounds.parks {
                out.push(Action::Read(scheduler, Duty::Park, job));
            }
            let never_ran = !world.truth[job].claimed;
            if record.state == State::Scheduled && never_ran && world.spent.put_offs < bounds.put_offs {
                out.push(Action::Read(scheduler, Duty::PutOff, job));
            }
            let waits = matches!(record.state, State::Scheduled | State::Queued);
            if waits && !world.truth[job].forgiven && world.spent.expires < bounds.expires {
                out.push(Action::Read(scheduler, Duty::Expire, job));
            }
        }
    }
    for scheduler in 0..usize::from(bounds.schedulers) {
        if world.schedulers[scheduler].is_some() {
            out.push(Action::Write(scheduler));
        }
    }
    for worker in 0..usize::from(bounds.workers) {
        of_worker(world, bounds, worker, out);
    }
}

/// Whether this engine does this duty at all.
pub(crate) fn allowed(sabotage: Option<Sabotage>, duty: Duty) -> bool {
    !matches!(
        (sabotage, duty),
        (Some(Sabotage::NoRedispatch), Duty::Mark)
            | (Some(Sabotage::NoRescue), Duty::Rescue)
            | (Some(Sabotage::NoDue), Duty::Due)
    )
}

/// The first scheduler with nothing to write: the others like it could do nothing else.
fn idle(world: &World, bounds: &Bounds) -> Option<usize> {
    (0..usize::from(bounds.schedulers)).find(|&scheduler| world.schedulers[scheduler].is_none())
}

fn of_worker(world: &World, bounds: &Bounds, index: usize, out: &mut Vec<Action>) {
    let worker = &world.workers[index];
    let replies = |asker| {
        let lossy = bounds.replies_to == Asker::Any || bounds.replies_to == asker;
        REPLIES.into_iter().filter(move |&reply| reply == Reply::Clear || lossy && world.may_lose(reply, bounds))
    };
    for job in 0..2 {
        if world.broker[job] > 0 && worker.hand.iter().sum::<u8>() < PREFETCH {
            out.push(Action::Deliver(index, job));
        }
        if may_ack(world, index, job) {
            out.push(Action::Ack(index, job));
        }
    }
    for batch in [[true, false], [false, true], [true, true]].map(Batch) {
        if worker.asking.is_none() && batch.jobs().all(|job| worker.hand[job] > 0 && worker.runs[job].is_none()) {
            out.extend(replies(Asker::Claimer).map(|reply| Action::Claim(index, batch, reply)));
        }
    }
    if worker.asking.is_some() {
        out.push(Action::ReadBack(index));
    }
    if (0..2).any(|job| news_for(world, index, job)) {
        // To send none, or to lose it, is the same.
        out.extend(
            replies(Asker::Any).filter(|&reply| reply != Reply::NeverSent).map(|reply| Action::Renew(index, reply)),
        );
    }
    for job in 0..2 {
        let Some(run) = worker.runs[job] else { continue };
        if run.unsure {
            out.push(Action::Resolve(index, job));
            continue;
        }
        for outcome in [Outcome::Succeed, Outcome::Fail, Outcome::Release] {
            // A handler ends in one way, however often its end has to be written.
            let same = run.outcome.is_none_or(|before| before == outcome);
            let affordable = match outcome {
                Outcome::Succeed => true,
                Outcome::Fail => world.spent.failures < bounds.failures,
                Outcome::Release => world.spent.releases < bounds.releases,
            };
            if same && (affordable || run.outcome.is_some()) {
                out.extend(replies(Asker::Any).map(|reply| Action::Settle(index, job, outcome, reply)));
            }
        }
    }
    let holds = worker.hand != [0, 0] || worker.runs != [None, None] || worker.asking.is_some();
    if holds && world.spent.deaths < bounds.deaths {
        out.push(Action::Die(index));
    }
}

/// A message is acked once its job is claimed, or found to wait no longer.
pub(crate) fn may_ack(world: &World, worker: usize, job: JobIndex) -> bool {
    let worker = &world.workers[worker];
    let waits = world.jobs[job].is_some_and(|record| record.state == State::Queued);
    worker.hand[job] > 0
        && worker.asking.is_none_or(|(_, batch)| !batch.0[job])
        && (worker.runs[job].is_some() || !waits)
}

/// Whether a heartbeat would change the lease, or tell the worker something.
fn news_for(world: &World, worker: usize, job: JobIndex) -> bool {
    let (Some(run), Some(record)) = (world.workers[worker].runs[job], world.jobs[job]) else { return false };
    run.until < world.now + LEASE
        || record.lease != Some(run.lease)
        || record.cancel_requested != run.seen.cancel_requested
}

impl World {
    fn may_lose(&self, reply: Reply, bounds: &Bounds) -> bool {
        self.spent.replies < bounds.replies && (reply != Reply::Late || self.late.is_none())
    }
}
