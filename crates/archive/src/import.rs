//! `import`: everything from an archive into a store, and then the comparison.
//!
//! Nothing is remembered of an import that was broken off but what it has stored: a job that is there is left alone,
//! whoever put it there, and the comparison at the end tells whether it is the archive's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use gristmill_common::{Clock, QueueName, QueueRecord};
use gristmill_storage::{Kind, Restored, Store, StoreError, Whole};
use serde_json::Value;

use crate::{
    ArchiveError, Comparison, Progress, Step, Watcher, blobs,
    error::damaged,
    manifest::{Manifest, Segment, Tally},
    record::JobRecord,
    registers, segment, verify,
};

/// The most jobs in one call of the store.
const BATCH: usize = 500;
/// A batch or call whose jobs are this long ends with the job that made it so. Bytes.
const BATCH_BYTES: u64 = 8 << 20;
/// How long a store may be away before the import gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait before a call is made again.
const PAUSE: Duration = Duration::from_millis(500);

/// What an import came to.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Jobs that this run has stored.
    pub created: u64,
    /// Keys and schedules that this run has made; one that was there stays as it is.
    pub registers: u64,
    /// Queues that were paused in the target, because they are in the archive.
    pub paused: Vec<QueueName>,
    /// Queues of the target that got the rate that they have in the archive.
    pub limited: Vec<QueueName>,
    /// The archive beside the store.
    pub comparison: Comparison,
}

/// Restores an archive into the store at a URL, and compares. What is there stays as it is, so it may be run again.
///
/// # Errors
/// The archive is not complete, damaged, or newer than this build; the store cannot be opened, or is away for longer
/// than half a minute. What was restored until then stays.
pub async fn import(archive: &Path, url: &str, watcher: Watcher<'_>) -> Result<Imported, ArchiveError> {
    let manifest = Manifest::read(archive)?.ok_or_else(|| ArchiveError::NoArchive(archive.to_owned()))?;
    if !manifest.complete {
        return Err(ArchiveError::Incomplete(archive.to_owned()));
    }
    let clock = Clock::start();
    let store = gristmill_storage::open(url, &clock).await?.store;
    patiently(async || Ok(store.ping().await?)).await?;
    let import = Import { store, clock, archive: archive.to_owned(), manifest };
    let Changed { paused, limited } = import.restore_queues().await?;
    let created = import.restore_jobs(watcher).await?;
    let registers = match &import.manifest.registers {
        Some(registers) => registers::restore(&*import.store, archive, registers).await?,
        None => 0,
    };
    let comparison = verify::compare(&*import.store, archive, &import.manifest, watcher).await?;
    Ok(Imported { created, registers, paused, limited, comparison })
}

/// Queues of the target that were changed.
#[derive(Default)]
struct Changed {
    paused: Vec<QueueName>,
    limited: Vec<QueueName>,
}

struct Import {
    store: Arc<dyn Store>,
    clock: Clock,
    archive: PathBuf,
    manifest: Manifest,
}

impl Import {
    /// Declares the queues. One that is there is paused in the target before a job of it comes, if it is paused in the
    /// archive, and gets the archive's rate, if it has none; once all jobs have come, people decide.
    async fn restore_queues(&self) -> Result<Changed, ArchiveError> {
        let last: Vec<_> = self.manifest.segments.last().map(|segment| segment.last.clone()).into_iter().collect();
        let is_done = patiently(async || Ok(self.store.whole(&last).await?)).await?.iter().any(Option::is_some);
        let mut changed = Changed::default();
        for queue in &self.manifest.queues {
            let record = serde_json::to_value(queue).map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let name = queue.name.as_str();
            let is_new =
                patiently(async || Ok(self.store.add_record(Kind::Queue, name, record.clone()).await?)).await?;
            if !is_new && !is_done {
                patiently(async || self.change_queue(queue, &record, &mut changed).await).await?;
            }
        }
        Ok(changed)
    }

    /// Changes no more of a queue than what is said above: a newer build may have written more into the record.
    async fn change_queue(
        &self,
        queue: &QueueRecord,
        archived: &Value,
        changed: &mut Changed,
    ) -> Result<(), ArchiveError> {
        let records = self.store.records(Kind::Queue).await?;
        let Some(there) = records.into_iter().find(|there| there["name"] == archived["name"]) else { return Ok(()) };
        let mut record = there.clone();
        if queue.paused && there["paused"] != true {
            record["paused"] = true.into();
            note(&mut changed.paused, &queue.name);
        }
        if queue.rate_limit.is_some() && there["rate_limit"].is_null() {
            record["rate_limit"] = archived["rate_limit"].clone();
            note(&mut changed.limited, &queue.name);
        }
        if record == there || self.store.replace_record(Kind::Queue, queue.name.as_str(), &there, record).await? {
            return Ok(());
        }
        // Somebody else was at it: read it again.
        Err(StoreError::Overloaded.into())
    }

    /// Restores the jobs, each segment after it was checked; says how many were not there.
    async fn restore_jobs(&self, watcher: Watcher<'_>) -> Result<u64, ArchiveError> {
        let (mut created, mut jobs) = (0, 0);
        let of = self.manifest.counts.total();
        let mut counts = Tally::default();
        for segment in &self.manifest.segments {
            let records = segment::read(&self.archive, segment)?;
            for record in &records {
                counts.add(&record.tenant, &record.queue, record.state);
            }
            for batch in batches(&records) {
                created += patiently(async || self.restore_batch(batch, segment).await).await?;
                jobs += batch.len() as u64;
                watcher(Progress { step: Step::Restored, jobs, of });
            }
        }
        if counts != self.manifest.counts {
            return Err(damaged(&self.archive.join("manifest.json"), "its counts are not those of its segments"));
        }
        Ok(created)
    }

    /// Restores jobs, the blobs of those that are not there first; says how many were not there.
    async fn restore_batch(&self, batch: &[JobRecord], segment: &Segment) -> Result<u64, ArchiveError> {
        let with_blobs: Vec<&JobRecord> = batch.iter().filter(|record| record.blobs().next().is_some()).collect();
        let keys: Vec<_> = with_blobs.iter().map(|record| record.key()).collect();
        let there = if keys.is_empty() { Vec::new() } else { self.store.whole(&keys).await? };
        for (record, there) in with_blobs.into_iter().zip(there) {
            if there.is_none() {
                for blob in record.blobs() {
                    blobs::restore(&*self.store, &self.clock, &record.key(), blob, &self.archive).await?;
                }
            }
        }
        let jobs: Result<Vec<Whole>, _> = batch.iter().map(|record| record.clone().into_whole()).collect();
        let jobs = jobs.map_err(|error| damaged(&segment::path(&self.archive, segment), error))?;
        let mut created = 0;
        for call in calls(jobs) {
            let restored = self.store.restore(call).await?;
            created += restored.iter().filter(|outcome| **outcome == Restored::Created).count() as u64;
        }
        Ok(created)
    }
}

/// Cuts jobs into what one call takes.
pub(crate) fn batches(records: &[JobRecord]) -> impl Iterator<Item = &[JobRecord]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let end = rest.iter().take(BATCH).take_while(|record| {
            let fits = bytes < BATCH_BYTES;
            bytes += record.bytes();
            fits
        });
        let (batch, later) = rest.split_at(end.count());
        rest = later;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Cuts a batch once more, into calls of some megabytes: what was tried often has a history longer than its bodies.
fn calls(jobs: Vec<Whole>) -> impl Iterator<Item = Vec<Whole>> {
    let mut rest = jobs.into_iter();
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let mut call = Vec::new();
        while bytes < BATCH_BYTES
            && let Some(whole) = rest.next()
        {
            bytes += whole.inline_bytes() as u64;
            call.push(whole);
        }
        (!call.is_empty()).then_some(call)
    })
}

/// A call that is made again notes it once.
fn note(queues: &mut Vec<QueueName>, name: &QueueName) {
    if !queues.contains(name) {
        queues.push(name.clone());
    }
}

/// Makes a call until the store answers: each may be made again.
pub(crate) async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, ArchiveError>) -> Result<T, ArchiveError> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(ArchiveError::Store(StoreError::Unavailable(_) | StoreError::Overloaded))
                if began.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_common::job::{HistoryEntry, MAX_ERROR_BYTES, What};
    use gristmill_storage::conformance::{at, job, text};

    use super::*;

    /// A job with small bodies, and as much of a history as there may be.
    fn of_many_tries(number: u64) -> Whole {
        let mut job = job(at(number)).job;
        for n in 0..100 {
            let message = Some("x".repeat(MAX_ERROR_BYTES));
            job.history.push(HistoryEntry { message, ..HistoryEntry::new(at(n), What::RetryScheduled) });
        }
        Whole { job, payload: text("{}"), text: None, result: None, logs: Vec::new() }
    }

    #[test]
    fn jobs_of_many_tries_are_restored_in_calls_of_some_megabytes() {
        let jobs: Vec<Whole> = (0..100).map(of_many_tries).collect();
        let calls: Vec<Vec<Whole>> = calls(jobs.clone()).collect();
        for call in &calls {
            let bytes: usize =
                call.iter().map(|whole| serde_json::to_vec(&whole.job.history).expect("JSON").len()).sum();
            assert!(bytes < 10 << 20, "{} jobs of {bytes} bytes", call.len());
        }
        assert!(calls.len() < 10, "{}", calls.len());
        assert_eq!(calls.concat(), jobs);
    }
}
