//! Segments: files of jobs, a line of JSON each.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gristmill_common::job::JobKey;

use crate::{
    ArchiveError,
    blobs::BLOBS,
    error::{at, damaged},
    files::{NewFile, Sealer, seal_of},
    manifest::{Manifest, Segment, Tally},
    record::JobRecord,
};

/// The folder of the segments.
pub(crate) const SEGMENTS: &str = "segments";
/// The most jobs in a segment, unless another number is asked for.
pub const SEGMENT_JOBS: u64 = 10_000;
/// A segment that is this long ends with the job that made it so. Bytes.
const BYTES: u64 = 32 << 20;

/// A segment that is being written.
pub(crate) struct SegmentWriter {
    name: String,
    file: NewFile,
    last: Option<JobKey>,
    most: u64,
    /// What is in it.
    pub(crate) counts: Tally,
}

impl SegmentWriter {
    /// Begins the next segment of an archive, of at most so many jobs.
    pub(crate) fn create(archive: &Path, manifest: &Manifest, most: u64) -> Result<Self, ArchiveError> {
        let name = format!("{:06}.jsonl", manifest.segments.len() + 1);
        let file = NewFile::create(archive.join(SEGMENTS).join(&name))?;
        Ok(Self { name, file, last: None, most, counts: Tally::default() })
    }

    pub(crate) fn write(&mut self, record: &JobRecord) -> Result<(), ArchiveError> {
        let mut line = line(record)?;
        line.push(b'\n');
        self.file.write(&line)?;
        self.counts.add(&record.tenant, &record.queue, record.state);
        self.last = Some(record.key());
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.counts.total() >= self.most || self.file.bytes() >= BYTES
    }

    /// Ends it; an empty one is left out.
    pub(crate) fn finish(self) -> Result<Option<Segment>, ArchiveError> {
        let (Some(last), jobs) = (self.last, self.counts.total()) else { return Ok(None) };
        Ok(Some(Segment { file: self.name, jobs, seal: self.file.finish()?, last }))
    }
}

/// A job as a line, without its end.
pub(crate) fn line(record: &JobRecord) -> Result<Vec<u8>, ArchiveError> {
    serde_json::to_vec(record).map_err(|error| at(Path::new(SEGMENTS))(error.into()))
}

/// Reads a segment, after making sure that it and its blobs are what was written.
pub(crate) fn read(archive: &Path, segment: &Segment) -> Result<Vec<JobRecord>, ArchiveError> {
    let path = path(archive, segment);
    let bytes = fs::read(&path).map_err(at(&path))?;
    let mut sealer = Sealer::default();
    sealer.update(&bytes);
    let found = sealer.seal();
    if found != segment.seal {
        return Err(damaged(
            &path,
            format_args!(
                "it has {} bytes with the SHA-256 {}, and was written with {} and {}",
                found.bytes, found.sha256, segment.seal.bytes, segment.seal.sha256
            ),
        ));
    }
    let mut records = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: JobRecord = serde_json::from_slice(line)
            .map_err(|error| damaged(&path, format_args!("line {}: {error}", records.len() + 1)))?;
        for blob in record.blobs() {
            let path = archive.join(BLOBS).join(blob.id.to_string());
            if seal_of(&path)? != blob.seal {
                return Err(damaged(&path, "its SHA-256 is not the one that its job's line says"));
            }
        }
        records.push(record);
    }
    if records.len() as u64 != segment.jobs {
        return Err(damaged(
            &path,
            format_args!("it has {} jobs, and was written with {}", records.len(), segment.jobs),
        ));
    }
    Ok(records)
}

pub(crate) fn path(archive: &Path, segment: &Segment) -> PathBuf {
    archive.join(SEGMENTS).join(&segment.file)
}
