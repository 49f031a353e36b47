//! Schedules: at each instant a job. The job is inserted first and the schedule advanced then: whoever comes after a
//! crash in between, or at the same time, makes the same jobs with the same ids, which the store takes once.

use futures::{StreamExt, stream};
use gristmill_common::{
    JobId, State, Timestamp,
    job::JobKey,
    schedule::{Firings, Overlap, ScheduleRecord, Turn},
};
use gristmill_storage::{Register, RegisterKey, StoreError};

use super::{
    Scheduler,
    registers::{changed, due_again},
};
use crate::EngineError;

/// How many schedules are fired at once.
const AT_ONCE: usize = 16;
/// An instant is missed when it is older than so many leases of the leader: as long as a change of leaders takes.
const GRACE_LEASES: u32 = 2;

/// What was done at the instants of one schedule.
#[derive(Default)]
struct Done {
    fired: usize,
    skipped: u64,
    last_job: Option<JobId>,
}

impl Scheduler {
    /// Fires the schedules that are due, as they were read at this time; says how many jobs that made.
    pub(super) async fn fire_schedules(&self, due: Vec<Register>, read_at: Timestamp) -> Result<usize, StoreError> {
        let firing = self.read::<ScheduleRecord>(due).into_iter();
        let firing = firing.map(|(register, record)| self.fire(register, record, read_at));
        let outcomes: Vec<_> = stream::iter(firing).buffer_unordered(AT_ONCE).collect().await;
        outcomes.into_iter().sum()
    }

    async fn fire(&self, register: Register, record: ScheduleRecord, read_at: Timestamp) -> Result<usize, StoreError> {
        if record.paused {
            self.swap(vec![due_again(register, None)]).await?;
            return Ok(0);
        }
        let (mut record, firings) = self.decide(record, read_at).await?;
        let before = record.last_job;
        let mut done = Done { last_job: before, ..Done::default() };
        let is_stale = || firings.is_stale(self.engine.now(), self.config.leader_lease);
        let mut seen_to = 0;
        for &instant in &firings.instants {
            let turn = record.turn(self.state_of_last(&record, done.last_job).await?);
            // Whoever was frozen for so long reads again: this instant may have been fired, run and deleted.
            if is_stale() {
                break;
            }
            match turn {
                Turn::Fire => {}
                Turn::Skip => {
                    (done.skipped, seen_to) = (done.skipped + 1, seen_to + 1);
                    continue;
                }
                Turn::Replace => {
                    self.cancel_last(&record, done.last_job).await?;
                    if is_stale() {
                        break;
                    }
                }
            }
            let new = record.job(instant, self.engine.now());
            done.last_job = Some(new.job.key.id);
            self.engine
                .insert(vec![new])
                .await
                .into_iter()
                .try_for_each(|outcome| outcome.map(drop).or_else(store_error))?;
            (done.fired, seen_to) = (done.fired + 1, seen_to + 1);
        }
        // What was seen to is noted even if the decision is too old by now, or a slow store would have it begin at the
        // oldest instant for ever. A record that somebody else has advanced refuses it.
        let Some(firings) = firings.seen_to(seen_to) else { return Ok(0) };
        record.advance(&firings, done.last_job);
        let key = register.key.clone();
        let swap = changed(register, &record, firings.next)?;
        // Whoever advances it counts: another leader may have fired the same.
        if self.swap(vec![swap]).await? != [true] {
            if done.last_job != before {
                self.tell_last_job(key, &record, before).await?;
            }
            return Ok(0);
        }
        metrics::counter!("gristmill_schedule_fired_total").increment(done.fired as u64);
        metrics::counter!("gristmill_schedule_skipped_total").increment(done.skipped);
        metrics::counter!("gristmill_schedule_missed_total").increment(firings.missed_count);
        if firings.missed_count > 0 {
            tracing::warn!(
                schedule = %record.name, tenant = %record.tenant, missed = firings.missed_count,
                "instants of a schedule were missed"
            );
        }
        Ok(done.fired)
    }

    /// What it has to fire. To look for the instants of a pattern that seldom fires takes a while.
    async fn decide(
        &self,
        record: ScheduleRecord,
        read_at: Timestamp,
    ) -> Result<(ScheduleRecord, Firings), StoreError> {
        let grace = GRACE_LEASES * self.config.leader_lease;
        let decide = move || {
            let firings = record.firings(read_at, grace);
            (record, firings)
        };
        tokio::task::spawn_blocking(decide).await.map_err(StoreError::unavailable)
    }

    /// Notes the job that was made last in a schedule that somebody changed meanwhile: the next instant must find it.
    /// Another leader that advanced it has noted a job of its own, if it made one.
    async fn tell_last_job(
        &self,
        key: RegisterKey,
        fired: &ScheduleRecord,
        before: Option<JobId>,
    ) -> Result<(), StoreError> {
        let read = self.asked(self.engine.store().registers(&[key])).await?.pop().flatten();
        let Some((register, mut record)) = self.read::<ScheduleRecord>(read.into_iter().collect()).pop() else {
            return Ok(());
        };
        if record.id == fired.id && record.last_job == before {
            record.last_job = fired.last_job;
            let due_at = register.due_at;
            self.swap(vec![changed(register, &record, due_at)?]).await?;
        }
        Ok(())
    }

    /// The state of the job that was made last, if that matters. One that cannot be read is claimed by nobody, and
    /// counts as gone.
    async fn state_of_last(&self, record: &ScheduleRecord, last: Option<JobId>) -> Result<Option<State>, StoreError> {
        let Some(id) = last.filter(|_| record.overlap != Overlap::Allow) else { return Ok(None) };
        let key = JobKey { tenant: record.tenant.clone(), id };
        let named = self.named(vec![key]).await?;
        Ok(named.jobs.into_values().next().map(|job| job.state))
    }

    /// Cancels the job that was made last; one that has ended meanwhile, or was deleted, is in nobody's way.
    async fn cancel_last(&self, record: &ScheduleRecord, last: Option<JobId>) -> Result<(), StoreError> {
        let Some(id) = last else { return Ok(()) };
        let key = JobKey { tenant: record.tenant.clone(), id };
        self.engine.cancel(&key).await.map(drop).or_else(store_error)
    }
}

/// Of what a use case can fail with, only the store's errors are the duty's.
fn store_error(error: EngineError) -> Result<(), StoreError> {
    match error {
        EngineError::Store(error) => Err(error),
        _ => Ok(()),
    }
}
