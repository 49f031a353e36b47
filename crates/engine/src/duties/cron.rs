//! Schedules: at each instant a job. The job is inserted first and the schedule advanced then: whoever comes after a
//! crash in between, or at the same time, makes the same jobs with the same ids, which the store takes once.

use futures::{StreamExt, stream};
use gristmill_common::{
    JobId, State, Timestamp,
    job::JobKey,
    schedule::{Overlap, ScheduleRecord, Turn},
};
use gristmill_storage::{Register, StoreError};

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

    async fn fire(
        &self,
        register: Register,
        mut record: ScheduleRecord,
        read_at: Timestamp,
    ) -> Result<usize, StoreError> {
        if record.paused {
            self.swap(vec![due_again(register, None)]).await?;
            return Ok(0);
        }
        let firings = record.firings(read_at, GRACE_LEASES * self.config.leader_lease);
        let mut done = Done { last_job: record.last_job, ..Done::default() };
        for &instant in &firings.instants {
            match record.turn(self.state_of_last(&record, done.last_job).await?) {
                Turn::Fire => {}
                Turn::Skip => {
                    done.skipped += 1;
                    continue;
                }
                Turn::Replace => self.cancel_last(&record, done.last_job).await?,
            }
            // Whoever was frozen for so long reads again: this instant may have been fired, run and deleted.
            if firings.is_stale(self.engine.now(), self.config.leader_lease) {
                return Ok(0);
            }
            let new = record.job(instant, self.engine.now());
            done.last_job = Some(new.job.key.id);
            self.engine
                .insert(vec![new])
                .await
                .into_iter()
                .try_for_each(|outcome| outcome.map(drop).or_else(store_error))?;
            done.fired += 1;
        }
        record.advance(&firings, done.last_job);
        let swap = changed(register, &record, firings.next)?;
        // Whoever advances it counts: another leader may have fired the same.
        if self.swap(vec![swap]).await? != [true] {
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

    /// The state of the job that was made last, if that matters.
    async fn state_of_last(&self, record: &ScheduleRecord, last: Option<JobId>) -> Result<Option<State>, StoreError> {
        let Some(id) = last.filter(|_| record.overlap != Overlap::Allow) else { return Ok(None) };
        let key = JobKey { tenant: record.tenant.clone(), id };
        let jobs = self.asked(self.engine.store().jobs(&[key])).await?;
        Ok(jobs.into_iter().flatten().next().map(|job| job.state))
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
