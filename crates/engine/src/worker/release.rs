//! Release: gives slots back after runs, many in one swap, and rings for parked jobs whose gates have opened. What it cannot give
//! back for long is left to the duty that looks for leaked slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter, mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gristmill_common::{
    JobId, LeaseId, QueueName, State, Timestamp,
    job::{Change, Job, JobKey},
    limits::Slots,
    message::Dispatch,
};
use gristmill_storage::{Register, RegisterKey, StoreError, Swap};
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
/// How often those next in line are looked for at once, twice as many each time, when those before do not wait any more.
const MOST_LOOKS: u32 = 9;
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
    /// Parked jobs whose gate is open now.
    told: BTreeMap<JobKey, Told>,
    /// Of these keys so many were told in vain: those next in line are to be told.
    in_vain: BTreeMap<RegisterKey, InVain>,
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

/// A job that may pass now.
#[derive(Clone)]
struct Told {
    /// The line that it was taken out of.
    line: Option<RegisterKey>,
    since: Instant,
}

/// So many slots of a key that nobody was told of who waits for one.
#[derive(Clone, Copy)]
struct InVain {
    slots: usize,
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
        let since = Instant::now();
        self.pending().told.extend(jobs.map(|job| (job, Told { line: None, since })));
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
        let Batch { slots, mut told, in_vain, mut soon } = mem::take(&mut *pending);
        while soon.first().is_some_and(|(at, _)| *at <= now) {
            told.extend(soon.pop_first().map(|(since, job)| (job, Told { line: None, since })));
        }
        pending.soon = soon;
        Batch { slots, told, in_vain, soon: BTreeSet::new() }
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
        pending.in_vain.extend(left.in_vain);
    }

    fn pending(&self) -> MutexGuard<'_, Batch> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.told.is_empty() && self.in_vain.is_empty()
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
        self.told.retain(|_, told| told.since.elapsed() < patience);
        self.in_vain.retain(|_, in_vain| in_vain.since.elapsed() < patience);
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
        left.told.extend(told);
        let mut wanted: BTreeMap<RegisterKey, usize> = BTreeMap::new();
        for look in 0..MOST_LOOKS {
            if !left.told.is_empty() {
                let told: Vec<JobKey> = left.told.keys().cloned().collect();
                let Some(takers) = self.0.not_told.after(self.wake(&told).await) else { break };
                let mut of_lines: BTreeMap<RegisterKey, (Instant, usize, usize)> = BTreeMap::new();
                for (job, Told { line, since }) in mem::take(&mut left.told) {
                    let Some(line) = line else { continue };
                    let (_, told, take) = of_lines.entry(line).or_insert((since, 0, 0));
                    *told += 1;
                    *take += usize::from(takers.contains(&job));
                }
                for (line, (since, told, take)) in of_lines {
                    let missing = wanted.remove(&line).unwrap_or(told).saturating_sub(take);
                    if missing > 0 {
                        left.in_vain.entry(line).or_insert(InVain { slots: 0, since }).slots += missing;
                    }
                }
            }
            if left.in_vain.is_empty() {
                break;
            }
            wanted = left.in_vain.iter().map(|(line, in_vain)| (line.clone(), in_vain.slots)).collect();
            let told = self.tell_those_next(&mut left.in_vain, look).await;
            if told.is_empty() {
                break;
            }
            left.told.extend(told);
        }
        lost(left.give_up_after(KEEP_TRYING));
        left
    }

    /// Takes as many out of the lines as were told in vain, and more with each look: there may be many who do not wait any
    /// more. Leaves those that are to be tried again; says who may ask.
    async fn tell_those_next(&self, in_vain: &mut BTreeMap<RegisterKey, InVain>, look: u32) -> Vec<(JobKey, Told)> {
        let now = self.0.engine.now();
        let read = self.read_registers(in_vain.keys().cloned().collect()).await;
        let (mut swaps, mut planned) = (Vec::new(), BTreeMap::new());
        for (key, register) in &read {
            let Some(mut slots) = slots_in(register.as_ref()) else {
                in_vain.remove(key);
                continue;
            };
            let most = in_vain[key].slots << look;
            let next: Vec<JobId> = iter::from_fn(|| slots.next_in_line()).take(most).collect();
            if next.is_empty() {
                in_vain.remove(key);
                continue;
            }
            let Ok(swap) = what_is_left(key, register.as_ref(), &slots, now) else { continue };
            swaps.extend(swap);
            planned.insert(key.clone(), next);
        }
        let made = self.swap_registers(swaps).await;
        let told = told_of(planned, made.as_ref(), |_| {});
        told.iter().filter_map(|(_, told)| told.line.as_ref()).for_each(|line| {
            in_vain.remove(line);
        });
        told
    }

    /// Leaves those that are to be tried again; says who may ask for what fell free.
    async fn give_back_slots(&self, slots: &mut BTreeMap<RegisterKey, Vec<Release>>) -> Vec<(JobKey, Told)> {
        if slots.is_empty() {
            return Vec::new();
        }
        let now = self.0.engine.now();
        let read = self.read_registers(slots.keys().cloned().collect()).await;
        let (mut swaps, mut planned) = (Vec::new(), BTreeMap::new());
        for (key, register) in &read {
            let Some(before) = slots_in(register.as_ref()) else {
                // What a newer build has written, its duty frees.
                slots.remove(key);
                continue;
            };
            let mut after = before.clone();
            let releases = slots[key].iter();
            let told: Vec<JobId> = releases.filter_map(|release| after.release(release.job, release.lease)).collect();
            if after == before {
                slots.remove(key);
                continue;
            }
            let Ok(swap) = what_is_left(key, register.as_ref(), &after, now) else { continue };
            swaps.extend(swap);
            planned.insert(key.clone(), told);
        }
        let made = self.swap_registers(swaps).await;
        told_of(planned, made.as_ref(), |key| drop(slots.remove(key)))
    }

    /// Rings for those of the jobs that are parked, or leaves that to the leader. Returns those who will ask at the gate:
    /// these, and those that are queued anyhow. The others have been cancelled, say, or their queue was paused.
    async fn wake(&self, keys: &[JobKey]) -> Result<BTreeSet<JobKey>, StoreError> {
        let engine = &self.0.engine;
        let now = engine.now();
        let paused = engine.0.board.queues().into_iter().filter(|queue| queue.paused);
        let paused: BTreeSet<QueueName> = paused.map(|queue| queue.name).collect();
        // It has had its turn before those who wait for the leader.
        let is_ours = |job: &Job| !engine.shutdown().is_cancelled() && !paused.contains(&job.queue);
        let jobs = engine.store().jobs(keys).await?;
        let asks = |job: &&Job| (job.is_parked() || job.state == State::Queued) && !paused.contains(&job.queue);
        let takers = jobs.iter().flatten().filter(asks).map(|job| job.key.clone()).collect();
        let due = jobs.iter().flatten().filter(|job| job.is_parked()).filter_map(|job| {
            // While it is about to be rung for here, the leader leaves it alone.
            job.due(if is_ours(job) { now + RING_GRACE } else { now }).ok()
        });
        let due: Vec<Change> = due.collect();
        if due.is_empty() {
            return Ok(takers);
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
        Ok(takers)
    }
}

/// The swap that leaves these slots; none if there is nothing.
fn what_is_left(
    key: &RegisterKey,
    read: Option<&Register>,
    slots: &Slots,
    now: Timestamp,
) -> Result<Option<Swap>, StoreError> {
    let to = if slots.is_empty() { None } else { Some((to_json(slots)?, slots.due_at(now))) };
    Ok(swap_to(key, read, to))
}

/// Who may ask, of those who were taken out of lines, and says for which keys the swap was made. If that is open, nothing
/// will tell later whom it took out of the line: to ring in vain does no harm.
fn told_of(
    planned: BTreeMap<RegisterKey, Vec<JobId>>,
    made: Option<&BTreeSet<RegisterKey>>,
    mut is_made: impl FnMut(&RegisterKey),
) -> Vec<(JobKey, Told)> {
    let (mut told, since) = (Vec::new(), Instant::now());
    for (key, jobs) in planned {
        match made.map(|made| made.contains(&key)) {
            Some(false) => continue,
            Some(true) => is_made(&key),
            None => {}
        }
        told.extend(jobs.into_iter().map(|id| {
            let line = Some(key.clone());
            (JobKey { tenant: key.tenant.clone(), id }, Told { line, since })
        }));
    }
    told
}

/// So many slots are left to the duty.
fn lost(slots: usize) {
    if slots > 0 {
        metrics::counter!("gristmill_slots_lost_total").increment(slots as u64);
        tracing::warn!(slots, "slots could not be given back; they are freed after their leases");
    }
}
