//! One world for all that differ only in names: of the workers, the schedulers, the jobs and the leases. It
//! makes the search several times shorter and leaves nothing out.

use crate::{
    bounds::Bounds,
    record::{Lease, Record},
    world::{Late, World},
};

/// The chosen one of all worlds that differ from this one only in names.
pub(crate) fn canonical(mut world: World, bounds: &Bounds) -> World {
    forget(&mut world);
    if world.spent.again >= bounds.again {
        forget_ended(&mut world);
    }
    if bounds.jobs == 1 {
        rename(&mut world);
        return world;
    }
    let mut other = world.clone();
    swap_jobs(&mut other);
    rename(&mut world);
    rename(&mut other);
    world.min(other)
}

/// Clears what can no longer make a difference.
fn forget(world: &mut World) {
    let believed: Vec<Lease> = world
        .workers
        .iter()
        .flat_map(|worker| worker.runs.iter().flatten().map(|run| run.lease))
        .chain(match &world.late {
            Some(Late::Settle { lease, .. }) => Some(*lease),
            _ => None,
        })
        .collect();
    // Whose settle was the last matters only to a worker that still asks.
    let asked = |settled: Option<Lease>| settled.filter(|lease| believed.contains(lease));
    for (record, truth) in world.jobs.iter_mut().zip(&mut world.truth) {
        let Some(record) = record else { continue };
        record.settled_by = asked(record.settled_by);
        truth.settled = asked(truth.settled);
        truth.succeeded &= truth.settled.is_some();
    }
    // No decision looks at who settled a record that was read before.
    let unread = |record: &mut Record| record.settled_by = None;
    world.cancel.iter_mut().for_each(|(_, seen)| unread(seen));
    world.schedulers.iter_mut().flatten().for_each(|plan| unread(&mut plan.seen));
    world.workers.iter_mut().flat_map(|worker| worker.runs.iter_mut().flatten()).for_each(|run| unread(&mut run.seen));
    if let Some(Late::Settle { seen, .. }) = &mut world.late {
        unread(seen);
    }
}

/// Clears the counts of jobs that have ended for good.
fn forget_ended(world: &mut World) {
    for (record, truth) in world.jobs.iter_mut().zip(&mut world.truth) {
        let Some(record) = record.as_mut().filter(|record| record.state.is_terminal()) else { continue };
        *record = Record { wake_at: 0, attempt: 0, claims: 0, rescues: 0, rings: 0, ..*record };
        truth.rung = false;
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
