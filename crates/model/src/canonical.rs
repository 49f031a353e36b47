//! One world for all that can only go on alike: those that differ in the names of workers, schedulers, jobs and
//! leases, or in what nobody will ever look at again. It makes the search many times shorter and leaves nothing
//! out.

use gristmill_common::State;

use crate::{
    record::{Lease, Record},
    step::Stepper,
    world::{Duty, Late, Plan, World},
};

/// The chosen one of all worlds that go on like this one.
pub(crate) fn canonical(mut world: World, stepper: &Stepper) -> World {
    forget_plans(&mut world, stepper);
    forget_records(&mut world);
    forget_settlers(&mut world);
    forget_what_no_plan_needs(&mut world, stepper);
    if world.spent.again >= stepper.bounds.again {
        forget_ended(&mut world);
    }
    rename(&mut world);
    if stepper.bounds.jobs == 1 {
        return world;
    }
    let mut other = world.clone();
    swap_jobs(&mut other);
    rename(&mut other);
    world.min(other)
}

/// Drops plans that can only be refused, by the guard that they really have: claims never fall, and a lease that
/// a job has lost never comes back to it.
fn forget_plans(world: &mut World, stepper: &Stepper) {
    let (jobs, now) = (world.jobs, world.now);
    for place in &mut world.schedulers {
        let Some(plan) = *place else { continue };
        let (Ok(change), Some(record)) = (stepper.planned(plan, now), jobs[plan.job]) else { continue };
        let counted = change.guard.claims.is_some() && plan.seen.claims != record.claims;
        let leased = change.guard.lease.is_some() && plan.seen.lease != record.lease;
        if counted || leased {
            *place = None;
        }
    }
}

/// Clears what no decision will look at in the records that were read, and in the jobs themselves.
fn forget_records(world: &mut World) {
    // A plan that is left and looks at `claims` has seen what the job has: they may both forget the number.
    for plan in world.schedulers.iter_mut().flatten() {
        plan.seen = match plan.duty {
            Duty::Due => Record { claims: 0, settled_by: None, ..plan.seen },
            Duty::Mark => Record { claims: 0, settled_by: None, attempt: 0, rescues: 0, ..plan.seen },
            Duty::Rescue => Record { claims: 0, settled_by: None, rings: 0, ..plan.seen },
            Duty::Park => {
                Record { claims: 0, settled_by: None, wake_at: 0, attempt: 0, rescues: 0, rings: 0, ..plan.seen }
            }
            Duty::PutOff => Record { claims: 0, settled_by: None, attempt: 0, rescues: 0, rings: 0, ..plan.seen },
            Duty::Expire => {
                let rings = if plan.seen.state == State::Queued { plan.seen.rings } else { 0 };
                Record { claims: 0, settled_by: None, attempt: 0, rescues: 0, rings, ..plan.seen }
            }
        };
    }
    let settle = |seen: Record| Record { claims: 0, settled_by: None, wake_at: 0, rings: 0, rescues: 0, ..seen };
    for worker in &mut world.workers {
        for (run, record) in worker.runs.iter_mut().zip(&world.jobs) {
            let Some(run) = run else { continue };
            run.seen = settle(run.seen);
            if record.is_some_and(|record| record.lease != Some(run.lease)) {
                run.until = 0;
            }
        }
    }
    if let Some(Late::Settle { seen, .. }) = &mut world.late {
        *seen = settle(*seen);
    }
    if let Some((_, seen)) = &mut world.cancel {
        *seen = Record { attempt: 0, ..settle(*seen) };
    }
    for (job, record) in world.jobs.iter_mut().enumerate() {
        let Some(record) = record else { continue };
        record.claims = 0;
        let on_clock = |plan: &&mut Plan| plan.looks_at_the_clock_of(job);
        let mut plans: Vec<_> = world.schedulers.iter_mut().flatten().filter(on_clock).collect();
        let agreed = plans.iter().all(|plan| plan.seen.wake_at == record.wake_at);
        if record.state == State::Queued && record.wake_at <= world.now && agreed {
            // It has passed, for all who look at it.
            record.wake_at = 0;
            plans.iter_mut().for_each(|plan| plan.seen.wake_at = 0);
        }
        if record.state != State::Queued {
            record.rings = 0;
        }
    }
}

/// Clears who settled a job last, once no worker will ask.
fn forget_settlers(world: &mut World) {
    let runs = world.workers.iter().flat_map(|worker| worker.runs.iter().flatten().map(|run| run.lease));
    let late = if let Some(Late::Settle { lease, .. }) = world.late { Some(lease) } else { None };
    let believed: Vec<Lease> = runs.chain(late).collect();
    let asked = |settled: Option<Lease>| settled.filter(|lease| believed.contains(lease));
    for (record, truth) in world.jobs.iter_mut().zip(&mut world.truth) {
        let Some(record) = record else { continue };
        record.settled_by = asked(record.settled_by);
        truth.settled = asked(truth.settled);
        truth.succeeded &= truth.settled.is_some();
    }
}

/// Clears what only plans of a kind are held to, once there can be none of it.
fn forget_what_no_plan_needs(world: &mut World, stepper: &Stepper) {
    let can_come = |duty: Duty, left: bool| left || world.schedulers.iter().flatten().any(|plan| plan.duty == duty);
    let put_off = can_come(Duty::PutOff, world.spent.put_offs < stepper.bounds.put_offs);
    let expire = can_come(Duty::Expire, world.spent.expires < stepper.bounds.expires);
    for truth in &mut world.truth {
        truth.claimed &= put_off;
        truth.forgiven &= expire;
    }
}

/// Clears the counts of jobs that have ended for good, and all messages about them but one.
fn forget_ended(world: &mut World) {
    for job in 0..2 {
        let Some(record) = world.jobs[job].as_mut().filter(|record| record.state.is_terminal()) else { continue };
        *record = Record { wake_at: 0, attempt: 0, rescues: 0, ..*record };
        world.truth[job].rung = false;
        world.broker[job] = world.broker[job].min(1);
        for worker in &mut world.workers {
            worker.hand[job] = worker.hand[job].min(1);
        }
    }
}

fn rename(world: &mut World) {
    world.schedulers.sort_unstable();
    number(world);
    world.workers.sort_unstable();
    number(world);
}

/// Numbers the leases in the order in which they are met.
fn number(world: &mut World) {
    let mut met: Vec<Lease> = Vec::with_capacity(8);
    world.each_lease(&mut |lease| {
        let place = met.iter().position(|known| known == lease).unwrap_or_else(|| {
            met.push(*lease);
            met.len() - 1
        });
        *lease = Lease(place as u8 + 1);
    });
}

fn swap_jobs(world: &mut World) {
    world.jobs.swap(0, 1);
    world.truth.swap(0, 1);
    world.unpublished.swap(0, 1);
    world.broker.swap(0, 1);
    for worker in &mut world.workers {
        worker.hand.swap(0, 1);
        worker.runs.swap(0, 1);
        worker.asking.iter_mut().for_each(|(_, batch)| batch.0.swap(0, 1));
    }
    world.schedulers.iter_mut().flatten().for_each(|plan| plan.job = 1 - plan.job);
    world.cancel.iter_mut().for_each(|(job, _)| *job = 1 - *job);
    match &mut world.late {
        Some(Late::Claim { batch, .. }) => batch.0.swap(0, 1),
        Some(Late::Renew { leases, .. }) => leases.swap(0, 1),
        Some(Late::Settle { job, .. }) => *job = 1 - *job,
        None => {}
    }
}
