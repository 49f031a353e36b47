//! The comparison at the end of an import: every job is read back from the target and held against its line.

use std::path::Path;

use gristmill_common::{State, job::JobKey};
use gristmill_storage::{Store, StoreError, Whole};

use crate::{
    ArchiveError, Progress, Step, Watcher,
    blobs::seal_in,
    import::{batches, patiently},
    manifest::Manifest,
    record::{JobRecord, Seals, blobs_of},
    segment,
};

/// How many of the jobs are named that are not as they should be.
const NAMED: usize = 10;

/// How a job of the archive stands in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the same, to the last byte of its bodies.
    Same,
    /// It is the same job, and something has happened to it since: the target is at work already.
    MovedOn,
    /// It is not there.
    Missing,
    /// There is something else under its key.
    Different,
}

/// How the jobs of one state stand, by their state in the archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// In the archive.
    pub archived: u64,
    /// In the target, the same.
    pub same: u64,
    /// In the target, and changed since.
    pub moved_on: u64,
    /// Not in the target.
    pub missing: u64,
    /// Something else in the target.
    pub different: u64,
}

/// An archive beside a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    standings: [Standing; State::ALL.len()],
    /// The first jobs that are missing or different.
    pub wrong: Vec<(JobKey, Verdict)>,
}

impl Comparison {
    /// How the jobs of each state stand.
    pub fn standings(&self) -> impl Iterator<Item = (State, Standing)> {
        State::ALL.into_iter().zip(self.standings)
    }

    /// How all jobs stand together.
    #[must_use]
    pub fn total(&self) -> Standing {
        self.standings.iter().fold(Standing::default(), |sum, one| Standing {
            archived: sum.archived + one.archived,
            same: sum.same + one.same,
            moved_on: sum.moved_on + one.moved_on,
            missing: sum.missing + one.missing,
            different: sum.different + one.different,
        })
    }

    /// Whether every job of the archive is in the target.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.wrong.is_empty()
    }

    fn add(&mut self, record: &JobRecord, verdict: Verdict) {
        for (state, standing) in State::ALL.into_iter().zip(&mut self.standings) {
            if state == record.state {
                standing.archived += 1;
                *match verdict {
                    Verdict::Same => &mut standing.same,
                    Verdict::MovedOn => &mut standing.moved_on,
                    Verdict::Missing => &mut standing.missing,
                    Verdict::Different => &mut standing.different,
                } += 1;
            }
        }
        if matches!(verdict, Verdict::Missing | Verdict::Different) && self.wrong.len() < NAMED {
            self.wrong.push((record.key(), verdict));
        }
    }
}

/// Holds every job of an archive against the store.
pub(crate) async fn compare(
    store: &dyn Store,
    archive: &Path,
    manifest: &Manifest,
    watcher: Watcher<'_>,
) -> Result<Comparison, ArchiveError> {
    let mut comparison = Comparison::default();
    let (mut jobs, of) = (0, manifest.counts.total());
    for segment in &manifest.segments {
        for page in batches(&segment::read(archive, segment)?) {
            let keys: Vec<JobKey> = page.iter().map(JobRecord::key).collect();
            let found = patiently(async || Ok(store.whole(&keys).await?)).await?;
            for (record, found) in page.iter().zip(found) {
                comparison.add(record, judge(store, record, found).await?);
            }
            jobs += page.len() as u64;
            watcher(Progress { step: Step::Compared, jobs, of });
        }
    }
    Ok(comparison)
}

async fn judge(store: &dyn Store, archived: &JobRecord, found: Option<Whole>) -> Result<Verdict, ArchiveError> {
    let Some(found) = found else { return Ok(Verdict::Missing) };
    let mut seals = Seals::new();
    for blob in blobs_of(&found) {
        let seal = patiently(async || match seal_in(store, blob).await {
            Ok(seal) => Ok(Some(seal)),
            // It ends too early: that is a difference, and no reason to stop.
            Err(StoreError::Corrupt(_)) => Ok(None),
            Err(error) => Err(error.into()),
        });
        seals.extend(seal.await?.map(|seal| (blob.id, seal)));
    }
    let found = JobRecord::of(found, &seals);
    Ok(if segment::line(&found)? == segment::line(archived)? {
        Verdict::Same
    } else if found.version > archived.version && found.has_the_bodies_of(archived) {
        Verdict::MovedOn
    } else {
        Verdict::Different
    })
}
