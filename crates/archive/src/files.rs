//! Files that are there whole or not at all, and what they must hold.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{BufWriter, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ArchiveError, error::at};

/// What a file must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seal {
    /// Its length, in bytes.
    pub(crate) bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Reckons a seal as the bytes come.
#[derive(Default)]
pub(crate) struct Sealer {
    hash: Sha256,
    bytes: u64,
}

impl Sealer {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    pub(crate) fn seal(self) -> Seal {
        Seal { bytes: self.bytes, sha256: format!("{:x}", self.hash.finalize()) }
    }
}

/// A file that gets its name once it is whole and synced.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    sealer: Sealer,
}

impl NewFile {
    /// Begins it; what an earlier run has left under its temporary name is overwritten.
    pub(crate) fn create(path: PathBuf) -> Result<Self, ArchiveError> {
        let mut temporary = path.clone().into_os_string();
        temporary.push(".part");
        let temporary = PathBuf::from(temporary);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let file = BufWriter::with_capacity(1 << 20, file.map_err(at(&temporary))?);
        Ok(Self { path, temporary, file, sealer: Sealer::default() })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.sealer.update(bytes);
        self.file.write_all(bytes).map_err(at(&self.temporary))
    }

    /// How long it is so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.sealer.bytes
    }

    /// Syncs it and gives it its name.
    pub(crate) fn finish(self) -> Result<Seal, ArchiveError> {
        let file = self.file.into_inner().map_err(|error| at(&self.temporary)(error.into_error()))?;
        file.sync_all().map_err(at(&self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(at(&self.path))?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
        }
        Ok(self.sealer.seal())
    }
}

/// Makes a folder for its owner alone; one that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Result<(), ArchiveError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

/// Reads a file to its end, a piece at a time.
pub(crate) fn seal_of(path: &Path) -> Result<Seal, ArchiveError> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut sealer, mut buffer) = (Sealer::default(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut buffer).map_err(at(path))? {
            0 => return Ok(sealer.seal()),
            read => sealer.update(&buffer[..read]),
        }
    }
}
