//! The manifest: what is in an archive, and how far its export has come.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use gristmill_common::{LeaderRecord, QueueName, QueueRecord, State, Tenant, Timestamp, job::JobKey};
use serde::{Deserialize, Serialize};

use crate::{
    ArchiveError,
    error::{at, damaged},
    files::{NewFile, Seal},
    registers::Registers,
};

/// The oldest format. An archive is of the oldest that can hold what is in it, so that older builds read it too.
pub(crate) const OLDEST_FORMAT: u32 = 1;
/// The newest format that this build writes and reads.
pub(crate) const FORMAT: u32 = 2;
const NAME: &str = "manifest.json";

/// What is in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// From [`OLDEST_FORMAT`] to [`FORMAT`].
    pub(crate) format: u32,
    /// The version of the build that wrote it, for people.
    pub(crate) gristmill: String,
    /// When the export was begun.
    pub(crate) created_at: Timestamp,
    /// Whether everything is there.
    pub(crate) complete: bool,
    /// What it was read from.
    pub(crate) source: Source,
    /// The declared queues.
    pub(crate) queues: Vec<QueueRecord>,
    /// The jobs in the segments below.
    pub(crate) counts: Tally,
    /// The segments, in order.
    pub(crate) segments: Vec<Segment>,
    /// The registers, if there are any, once everything is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) registers: Option<Registers>,
}

/// A file of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Its name, below `segments`.
    pub(crate) file: String,
    /// How many jobs it has.
    pub(crate) jobs: u64,
    /// What it must hold.
    #[serde(flatten)]
    pub(crate) seal: Seal,
    /// The last job in it: the next segment begins after it.
    pub(crate) last: JobKey,
}

/// How the data folder stood: enough to tell it from every other, and from itself after a server ran on it. Every
/// server takes the lead when it starts, under a name that it has never had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Who led last, and until when.
    pub(crate) leader: Option<LeaderRecord>,
    /// The store's own counts.
    pub(crate) counts: Vec<(QueueName, State, u64)>,
}

impl Source {
    /// How many jobs there are, by the store's own counts.
    pub(crate) fn jobs(&self) -> u64 {
        self.counts.iter().map(|(_, _, jobs)| jobs).sum()
    }
}

/// How many jobs there are of each tenant, queue and state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Cell>", into = "Vec<Cell>")]
pub(crate) struct Tally(BTreeMap<(Tenant, QueueName, State), u64>);

#[derive(Serialize, Deserialize)]
struct Cell {
    tenant: Tenant,
    queue: QueueName,
    state: State,
    jobs: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, tenant: &Tenant, queue: &QueueName, state: State) {
        *self.0.entry((tenant.clone(), queue.clone(), state)).or_default() += 1;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (cell, jobs) in &other.0 {
            *self.0.entry(cell.clone()).or_default() += jobs;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl From<Vec<Cell>> for Tally {
    fn from(cells: Vec<Cell>) -> Self {
        Self(cells.into_iter().map(|cell| ((cell.tenant, cell.queue, cell.state), cell.jobs)).collect())
    }
}

impl From<Tally> for Vec<Cell> {
    fn from(tally: Tally) -> Self {
        let cell = |((tenant, queue, state), jobs)| Cell { tenant, queue, state, jobs };
        tally.0.into_iter().map(cell).collect()
    }
}

impl Manifest {
    /// Reads an archive's manifest; `None` if it has none.
    pub(crate) fn read(archive: &Path) -> Result<Option<Self>, ArchiveError> {
        #[derive(Deserialize)]
        struct Versioned {
            format: u32,
        }
        let path = path(archive);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path)(error)),
        };
        let Versioned { format: found } = serde_json::from_slice(&json).map_err(|error| damaged(&path, error))?;
        if found > FORMAT {
            return Err(ArchiveError::NewerFormat { found, known: FORMAT });
        }
        serde_json::from_slice(&json).map(Some).map_err(|error| damaged(&path, error))
    }

    /// Writes it in place of the one that is there.
    pub(crate) fn write(&self, archive: &Path) -> Result<(), ArchiveError> {
        let path = path(archive);
        let json = serde_json::to_vec_pretty(self).map_err(|error| at(&path)(error.into()))?;
        let mut file = NewFile::create(path)?;
        file.write(&json)?;
        file.finish().map(drop)
    }
}

fn path(archive: &Path) -> PathBuf {
    archive.join(NAME)
}
