//! `export`: everything from a data folder into an archive, segment by segment.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gristmill_common::{Clock, QueueRecord};
use gristmill_storage::{Kind, Store, StoreError};

use crate::{
    ArchiveError, Progress, Step, Watcher,
    blobs::{self, BLOBS},
    error::at,
    files::make_folder,
    manifest::{Manifest, OLDEST_FORMAT, Source, Tally},
    record::{JobRecord, Seals, blobs_of},
    registers,
    segment::{SEGMENTS, SegmentWriter},
};

/// How many jobs are read at once.
const PAGE: usize = 500;

/// What an export came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Jobs in the archive.
    pub jobs: u64,
    /// How many of them an earlier run had written.
    pub found: u64,
    /// Bytes of all segments and blobs.
    pub bytes: u64,
}

/// Writes everything that a data folder holds into an archive. The folder belongs to this call meanwhile. An archive
/// that was begun before is gone on with, if the folder is as it was. A segment has at most so many jobs.
///
/// # Errors
/// A server has the folder, it holds no database, or it changed since the archive was begun; and whatever reading and
/// writing fails with.
pub async fn export(
    folder: &Path,
    archive: &Path,
    segment_jobs: u64,
    watcher: Watcher<'_>,
) -> Result<Exported, ArchiveError> {
    must_hold_data(folder)?;
    let url = format!("sqlite://{}", folder.display());
    let clock = Clock::start();
    let store = gristmill_storage::open(&url, &clock).await?.store;
    let source = Source::of(&*store).await?;
    let manifest = match Manifest::read(archive)? {
        Some(begun) if begun.source != source => return Err(ArchiveError::SourceChanged(archive.to_owned())),
        Some(begun) => begun,
        None => begin(archive, &*store, &clock, source).await?,
    };
    let found = manifest.counts.total();
    let export = Export { store, archive: archive.to_owned(), manifest, segment_jobs };
    let manifest = export.run(watcher).await?;
    Ok(Exported { jobs: manifest.counts.total(), found, bytes: bytes_of(archive, &manifest)? })
}

/// Opening a store makes a folder that is missing, and a copy of nothing helps nobody.
pub(crate) fn must_hold_data(folder: &Path) -> Result<(), ArchiveError> {
    if folder.join("gristmill.db").is_file() { Ok(()) } else { Err(ArchiveError::NoData(folder.to_owned())) }
}

/// Makes the archive's folders, and a manifest of nothing.
async fn begin(archive: &Path, store: &dyn Store, clock: &Clock, source: Source) -> Result<Manifest, ArchiveError> {
    make_folder(archive)?;
    for entry in fs::read_dir(archive).map_err(at(archive))? {
        let name = entry.map_err(at(archive))?.file_name();
        // An export that was killed before its first manifest has left no more than these.
        if ![SEGMENTS, BLOBS, "manifest.json.part"].iter().any(|ours| name == *ours) {
            return Err(ArchiveError::NotEmpty(archive.to_owned()));
        }
    }
    for folder in [SEGMENTS, BLOBS] {
        make_folder(&archive.join(folder))?;
    }
    let queues = store.records(Kind::Queue).await?.into_iter().map(|record| {
        serde_json::from_value::<QueueRecord>(record).map_err(|error| StoreError::Corrupt(format!("a queue: {error}")))
    });
    let manifest = Manifest {
        format: OLDEST_FORMAT,
        gristmill: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: clock.now(),
        complete: false,
        source,
        queues: queues.collect::<Result<_, _>>()?,
        counts: Tally::default(),
        segments: Vec::new(),
        registers: None,
    };
    manifest.write(archive)?;
    Ok(manifest)
}

impl Source {
    async fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let counts = store.counts(None).await?.into_iter().filter(|cell| cell.count > 0);
        let mut counts: Vec<_> = counts.map(|cell| (cell.queue, cell.state, cell.count)).collect();
        counts.sort();
        Ok(Self { leader: store.leader().await?, counts })
    }
}

struct Export {
    store: Arc<dyn Store>,
    archive: PathBuf,
    manifest: Manifest,
    segment_jobs: u64,
}

impl Export {
    async fn run(mut self, watcher: Watcher<'_>) -> Result<Manifest, ArchiveError> {
        let of = self.manifest.source.jobs();
        while !self.manifest.complete {
            self.manifest.complete = self.write_segment().await?;
            let found = self.manifest.counts.total();
            if self.manifest.complete && found != of {
                return Err(ArchiveError::Miscounted { counted: of, found });
            }
            if self.manifest.complete {
                self.manifest.registers = registers::export(&*self.store, &self.archive).await?;
                if self.manifest.registers.is_some() {
                    self.manifest.format = self.manifest.format.max(registers::FORMAT_WITH_REGISTERS);
                }
            }
            self.manifest.write(&self.archive)?;
            watcher(Progress { step: Step::Exported, jobs: found, of });
        }
        Ok(self.manifest)
    }

    /// Writes the next segment; says whether it was the last.
    async fn write_segment(&mut self) -> Result<bool, ArchiveError> {
        let mut after = self.manifest.segments.last().map(|segment| segment.last.clone());
        let mut segment = SegmentWriter::create(&self.archive, &self.manifest, self.segment_jobs)?;
        let mut is_last = false;
        while !is_last && !segment.is_full() {
            let room = usize::try_from(self.segment_jobs - segment.counts.total()).unwrap_or(PAGE);
            let page = self.store.walk(after.as_ref(), room.min(PAGE)).await?;
            is_last = page.is_empty();
            for whole in page {
                after = Some(whole.job.key.clone());
                let mut seals = Seals::new();
                for blob in blobs_of(&whole) {
                    seals.insert(blob.id, blobs::export(&*self.store, blob, &self.archive).await?);
                }
                let record = JobRecord::of(whole, &seals);
                self.manifest.format = self.manifest.format.max(record.format());
                segment.write(&record)?;
            }
        }
        let counts = segment.counts.clone();
        if let Some(written) = segment.finish()? {
            self.manifest.counts.add_all(&counts);
            self.manifest.segments.push(written);
        }
        Ok(is_last)
    }
}

fn bytes_of(archive: &Path, manifest: &Manifest) -> Result<u64, ArchiveError> {
    let segments: u64 = manifest.segments.iter().map(|segment| segment.seal.bytes).sum();
    let folder = archive.join(BLOBS);
    let mut blobs = 0;
    for entry in fs::read_dir(&folder).map_err(at(&folder))? {
        blobs += entry.and_then(|entry| entry.metadata()).map_err(at(&folder))?.len();
    }
    Ok(segments + blobs + manifest.registers.as_ref().map_or(0, |registers| registers.seal.bytes))
}
