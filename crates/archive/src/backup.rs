//! `backup`: a data folder beside the one that a server uses.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use gristmill_storage::{Copied, StoreError};

use crate::{ArchiveError, error::at, export::must_hold_data, files::make_folder};

/// Copies a data folder while a server runs on it: all that was answered before the copy began is in it. The copy is a
/// data folder, checked, and is there whole or not at all.
///
/// # Errors
/// `to` is there already, `folder` is no data folder, or a disk failed or is full.
pub async fn backup(folder: &Path, to: &Path) -> Result<Copied, ArchiveError> {
    must_hold_data(folder)?;
    if fs::symlink_metadata(to).is_ok() {
        return Err(ArchiveError::Exists(to.to_owned()));
    }
    let part = Part::make(to)?;
    let (from, into) = (folder.to_owned(), part.path.clone());
    let copying = tokio::task::spawn_blocking(move || gristmill_storage::copy(&from, &into));
    let copied = copying.await.map_err(StoreError::unavailable)??;
    part.rename(to)?;
    Ok(copied)
}

/// The folder under its temporary name; erased unless it is renamed.
struct Part {
    path: PathBuf,
    is_whole: bool,
}

impl Part {
    /// Makes it beside the folder, under a name that is free: what is there may be anybody's, or another backup's.
    fn make(to: &Path) -> Result<Self, ArchiveError> {
        if let Some(parent) = to.parent() {
            make_folder(parent)?;
        }
        let name = to.file_name().unwrap_or_default();
        for number in 1.. {
            let mut name = name.to_owned();
            name.push(format!(".part{number}"));
            let path = to.with_file_name(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, is_whole: false }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
        Err(ArchiveError::Exists(to.to_owned()))
    }

    fn rename(mut self, to: &Path) -> Result<(), ArchiveError> {
        // A folder with something in it that came meanwhile is not replaced: the system refuses.
        fs::rename(&self.path, to).map_err(at(to))?;
        self.is_whole = true;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(at(parent))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_whole {
            // What cannot be erased is in nobody's way.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
