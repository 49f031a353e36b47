//! Release: gives slots back after runs, many in one swap, and rings for parked jobs whose gates have opened. What it cannot give
//! back for long is left to the duty that looks for leaked slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{
    JobId, LeaseId, QueueName,
    job::{Change, Job, JobKey},
    message::Dispatch,
};
use gristmill_storage::{RegisterKey, StoreError};
use tokio::sync::Notify;

use super::{
    Worker,
    registers::swap_to,
    slots::{slots_in, slots_key},
};
use crate::{board::to_json, usecases::submit::RING_GRACE};

/// How long releases are gathered.
const GATHER: Duration = Duration::from_millis(3);
/// The longest wait before what failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// For how long a release is tried.
const KEEP_TRYING: Duration = Duration::from_secs(10);
/// The same, once the worker has drained.
const LAST_TRIES: Duration = Duration::from_secs(2);

/// What is to be given back, and who is to be rung for.
#[derive(Default)]
pub(super) struct Releases {
    pending: Mutex<Batch>,
    came: Notify,
}

#[derive(Default)]
struct Batch {
    slots: BTreeMap<RegisterKey, Vec<Release>>,
    /// Parked jobs whose gate is open now, and since when.
    told: BTreeMap<JobKey, Instant>,
    /// Parked jobs whose gate opens soon, and when.
    soon: BTreeSet<(Instant, JobKey)>,
}

/// A slot to be given back.
#[derive(Clone, Copy)]
struct Release {
    job: JobId,
    lease: LeaseId,
    since: Instant,
}

impl Releases {
    /// This job's claim under this lease needs its slot no longer, or never did.
    pub(super) fn release(&self, key: RegisterKey, job: JobId, lease: LeaseId) {
        let release = Release { job, lease, since: Instant::now() };
        self.pending().slots.entry(key).or_default().push(release);
        self.came.notify_one();
    }

    /// Those who wait for a slot may ask for one now.
    pub(super) fn tell(&self, jobs: impl Iterator<Item = JobKey>) {
        let now = Instant::now();
        self.pending().told.extend(jobs.map(|job| (job, now)));
        self.came.notify_one();
    }

    /// These may ask for a token at such a moment.
    pub(super) fn tell_at(&self, jobs: impl Iterator<Item = (Instant, JobKey)>) {
        self.pending().soon.extend(jobs);
        self.came.notify_one();
    }

    /// Takes what is to be done now.
    fn take(&self) -> Batch {
        let (mut pending, now) = (self.pending(), Instant::now());
        let Batch { slots, mut told, mut soon } = mem::take(&mut *pending);
        while soon.first().is_some_and(|(at, _)| *at <= now) {
            told.extend(soon.pop_first().map(|(at, job)| (job, at)));
        }
        pending.soon = soon;
        Batch { slots, told, soon: BTreeSet::new() }
    }

    /// Becomes ready when there is something to do.
    async fn something(&self) {
        let next = self.pending().soon.first().map(|(at, _)| *at);
        tokio::select! {
            () = self.came.notified() => {}
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {}
        }
    }

    fn put_back(&self, left: Batch) {
        let mut pending = self.pending();
        for (key, releases) in left.slots {
            pending.slots.entry(key).or_default().extend(releases);
        }
        pending.told.extend(left.told);
    }

    fn pending(&self) -> MutexGuard<'_, Batch> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.told.is_empty()
    }

    /// Drops what has been tried for too long; says how many slots are among it.
    fn give_up_after(&mut self, patience: Duration) -> usize {
        let mut given_up = 0;
        self.slots.retain(|_, releases| {
            let before = releases.len();
            releases.retain(|release| release.since.elapsed() < patience);
            given_up += before - releases.len();
            !releases.is_empty()
        });
        self.told.retain(|_, since| since.elapsed() < patience);
        given_up
    }
}

impl Worker {
    /// Gives back what an attempt of this job, as it was claimed, has held.
    pub(super) fn give_back_slot_of(&self, job: &Job) {
        if let Some(concurrency) = job.gates.as_ref().and_then(|gates| gates.concurrency.as_ref())
            && let Some(lease) = job.lease
        {
            self.0.releases.release(slots_key(&job.key.tenant, &concurrency.key), job.key.id, lease);
        }
    }

    /// Gives slots back until the worker has drained, and then what is left.
    pub(super) async fn give_slots_back(self) {
        let mut pause = GATHER;
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => break,
                () = self.0.releases.something() => {}
            }
            loop {
                tokio::time::sleep(pause).await;
                let left = self.give_back(self.0.releases.take()).await;
                if left.is_empty() {
                    pause = GATHER;
                    break;
                }
                self.0.releases.put_back(left);
                if self.0.stopped.is_cancelled() {
                    break;
                }
                pause = (2 * pause).min(LONGEST_PAUSE).mul_f64(0.5 + fastrand::f64() / 2.0);
            }
        }
        let stopped = Instant::now();
        loop {
            let left = self.give_back(self.0.releases.take()).await;
            if left.is_empty() || stopped.elapsed() > LAST_TRIES {
                return lost(left.slots.values().map(Vec::len).sum());
            }
            self.0.releases.put_back(left);
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Does what it can; returns what is to be tried again.
    async fn give_back(&self, batch: Batch) -> Batch {
        let mut left = batch;
        let told = self.give_back_slots(&mut left.slots).await;
        let now = Instant::now();
        left.told.extend(told.into_iter().map(|job| (job, now)));
        let told: Vec<JobKey> = left.told.keys().cloned().collect();
        if !told.is_empty() && self.0.not_told.after(self.wake(&told).await).is_some() {
            left.told.clear();
        }
        lost(left.give_up_after(KEEP_TRYING));
        left
    }

    /// Leaves those that are to be tried again; says who may ask for what fell free.
    async fn give_back_slots(&self, slots: &mut BTreeMap<RegisterKey, Vec<Release>>) -> Vec<JobKey> {
        if slots.is_empty() {
            return Vec::new();
        }
        let now = self.0.engine.now();
        let read = self.read_registers(slots.keys().cloned().collect()).await;
        let (mut swaps, mut planned) = (Vec::new(), BTreeMap::new());
        for (key, register) in &read {
            // What a newer build has written, its duty frees.
            let Some(before) = slots_in(register.as_ref()) else { continue };
            let mut after = before.clone();
            let releases = slots[key].iter();
            let told: Vec<JobId> = releases.filter_map(|release| after.release(release.job, release.lease)).collect();
            if after == before {
                slots.remove(key);
                continue;
            }
            let to = if after.is_empty() {
                None
            } else {
                let Ok(value) = to_json(&after) else { continue };
                Some((value, after.due_at(now)))
            };
            swaps.extend(swap_to(key, register.as_ref(), to));
            planned.insert(key.clone(), told);
        }
        let made = self.swap_registers(swaps).await;
        let mut told = Vec::new();
        for (key, jobs) in planned {
            let is_made = made.as_ref().map(|made| made.contains(&key));
            if is_made == Some(true) {
                slots.remove(&key);
            }
            // If that is open, nothing will tell later whom it took out of the line: to ring in vain does no harm.
            if is_made != Some(false) {
                told.extend(jobs.into_iter().map(|id| JobKey { tenant: key.tenant.clone(), id }));
            }
        }
        told
    }

    /// Rings for those of the jobs that are parked, or leaves that to the leader.
    async fn wake(&self, keys: &[JobKey]) -> Result<(), StoreError> {
        let engine = &self.0.engine;
        let now = engine.now();
        let paused = engine.0.board.queues().into_iter().filter(|queue| queue.paused);
        let paused: BTreeSet<QueueName> = paused.map(|queue| queue.name).collect();
        // It has had its turn before those who wait for the leader.
        let is_ours = |job: &Job| !engine.shutdown().is_cancelled() && !paused.contains(&job.queue);
        let jobs = engine.store().jobs(keys).await?;
        let due = jobs.iter().flatten().filter(|job| job.is_parked()).filter_map(|job| {
            // While it is about to be rung for here, the leader leaves it alone.
            job.due(if is_ours(job) { now + RING_GRACE } else { now }).ok()
        });
        let due: Vec<Change> = due.collect();
        if due.is_empty() {
            return Ok(());
        }
        let mut dispatches: BTreeMap<QueueName, Vec<Dispatch>> = BTreeMap::new();
        for job in engine.store().apply(due).await?.iter().flatten() {
            if job.wake_at > now {
                dispatches.entry(job.queue.clone()).or_default().push(Dispatch::of(job));
            } else {
                engine.0.bell.leave_to_the_leader();
            }
        }
        for (queue, dispatches) in dispatches {
            let engine = engine.clone();
            // A broker that does not answer must not keep slots from being given back.
            tokio::spawn(async move { engine.publish(&queue, dispatches).await });
        }
        Ok(())
    }
}

/// So many slots are left to the duty.
fn lost(slots: usize) {
    if slots > 0 {
        metrics::counter!("gristmill_slots_lost_total").increment(slots as u64);
        tracing::warn!(slots, "slots could not be given back; they are freed after their leases");
    }
}
