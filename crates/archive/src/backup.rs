//! `backup`: a data folder beside the one that a server uses.

use std::{
    fs::{self, File},
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
    /// Makes it, in place of one that a killed backup has left.
    fn make(to: &Path) -> Result<Self, ArchiveError> {
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = to.with_file_name(name);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(at(&path))?;
        }
        make_folder(&path)?;
        Ok(Self { path, is_whole: false })
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
            // What cannot be erased is in the way of nothing but the next backup to this place, which erases it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
