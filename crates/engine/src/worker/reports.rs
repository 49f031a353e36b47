//! Reports: what handlers say of their progress, and log, stored a few times a second. What the store does not take is
//! kept, and goes first when it takes something again. Until then the rest stays where handlers say it, and is bounded
//! there.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gristmill_common::{
    Timestamp,
    http::LogLine,
    job::{Change, Job, JobKey},
};
use gristmill_storage::StoreError;

use super::Worker;

/// How often reports are stored.
const STORE_EVERY: Duration = Duration::from_millis(250);
/// How many lines of attempts that have ended are kept for a store that is away; what is over is lost.
const MOST_KEPT_LINES: usize = 10_000;

/// What is to be stored of what handlers said.
#[derive(Default)]
struct Batch {
    progress: Vec<Change>,
    lines: Vec<(JobKey, LogLine)>,
}

/// What the store has not taken yet.
#[derive(Default)]
pub(super) struct Kept(Mutex<Batch>);

impl Kept {
    fn take(&self) -> Batch {
        mem::take(&mut *self.batch())
    }

    /// The lines of one job.
    fn take_lines_of(&self, key: &JobKey) -> Vec<(JobKey, LogLine)> {
        self.batch().lines.extract_if(.., |(of, _)| of == key).collect()
    }

    fn keep_lines(&self, lines: Vec<(JobKey, LogLine)>) {
        let kept = &mut self.batch().lines;
        let room = MOST_KEPT_LINES.saturating_sub(kept.len());
        kept.extend(lines.into_iter().take(room));
    }

    fn keep_progress(&self, progress: Vec<Change>) {
        self.batch().progress = progress;
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Stores what handlers say until the last job is let go.
    pub(super) async fn store_reports(self) {
        let mut tick = tokio::time::interval(STORE_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.0.stopped.cancelled() => break,
                _ = tick.tick() => self.store_what_was_said().await,
            }
        }
        self.store_what_was_said().await;
    }

    async fn store_what_was_said(&self) {
        if self.store_batch(self.0.kept.take()).await.is_ok() {
            // What fails now is kept and said.
            let _ = self.store_batch(self.said_since()).await;
        }
    }

    fn said_since(&self) -> Batch {
        let mut batch = Batch::default();
        for (job, reports) in self.0.held.reporting() {
            let report = reports.take();
            batch.progress.extend(report.progress.and_then(|progress| job.report(progress).ok()));
            batch.lines.extend(to_lines(&job, report.lines));
        }
        batch
    }

    /// Stores a batch, or keeps what the store does not take.
    async fn store_batch(&self, Batch { progress, lines }: Batch) -> Result<(), StoreError> {
        let store = self.0.engine.store();
        let reported = if progress.is_empty() { Ok(()) } else { store.apply(progress.clone()).await.map(drop) };
        let logged = if lines.is_empty() { Ok(()) } else { store.append_logs(lines.clone()).await };
        let asked = !progress.is_empty() || !lines.is_empty();
        if reported.as_ref().is_err_and(is_worth_another_try) {
            self.0.kept.keep_progress(progress);
        }
        if logged.as_ref().is_err_and(is_worth_another_try) {
            self.0.kept.keep_lines(lines);
        }
        let outcome = reported.and(logged);
        if asked {
            self.0.not_reported.after(outcome.clone());
        }
        outcome
    }

    /// Stores the last lines of an attempt, after those that are kept of its job.
    pub(super) async fn store_last_lines(&self, job: &Job, lines: Vec<(Timestamp, String)>) {
        let mut all = self.0.kept.take_lines_of(&job.key);
        all.extend(to_lines(job, lines));
        // What fails is kept and said.
        let _ = self.store_batch(Batch { lines: all, ..Batch::default() }).await;
    }
}

fn to_lines(job: &Job, lines: Vec<(Timestamp, String)>) -> impl Iterator<Item = (JobKey, LogLine)> {
    let (key, attempt) = (job.key.clone(), job.attempt);
    lines.into_iter().map(move |(at, message)| (key.clone(), LogLine { at, attempt, message }))
}

/// Whether the store may take the same later. If it had done so already, and only its reply was lost, a line is there
/// twice: better than not at all.
fn is_worth_another_try(error: &StoreError) -> bool {
    !matches!(error, StoreError::Corrupt(_))
}

#[cfg(test)]
mod tests {
    use gristmill_common::{JobId, Tenant};

    use super::*;

    fn lines(number: usize) -> (JobKey, Vec<(JobKey, LogLine)>) {
        let key = JobKey { tenant: Tenant::default(), id: JobId::fresh() };
        let line = |n: usize| LogLine { at: Timestamp::from_millis(n as i64), attempt: 1, message: n.to_string() };
        let lines = (0..number).map(|n| (key.clone(), line(n))).collect();
        (key, lines)
    }

    #[test]
    fn no_more_lines_are_kept_than_there_is_room_for() {
        let kept = Kept::default();
        for _ in 0..3 {
            kept.keep_lines(lines(MOST_KEPT_LINES / 2 + 1).1);
        }
        assert_eq!(kept.take().lines.len(), MOST_KEPT_LINES);
        assert!(kept.take().lines.is_empty());
    }

    #[test]
    fn a_jobs_lines_are_taken_in_order_and_the_others_stay() {
        let kept = Kept::default();
        let (one, of_one) = lines(3);
        let (other, of_other) = lines(2);
        kept.keep_lines([&of_one[..2], &of_other[..], &of_one[2..]].concat());
        assert_eq!(kept.take_lines_of(&one), of_one);
        assert_eq!((kept.take_lines_of(&one).len(), kept.take_lines_of(&other)), (0, of_other));
    }
}
