//! Scratch: a run's own folder for downloads and files in the making, and the clearing of those that killed runs left.
//!
//! A run holds a lock on its folder for as long as it lives, and the system lets go of it however the run ends: a folder
//! that can be locked is nobody's. Folders are made and cleared under a lock on scratch as a whole, so that none is
//! taken for left behind before its run has locked it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::PipelineError;

const PREFIX: &str = "answerlake-";

/// A run's folder; removed with it.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    /// Locked; absent where the file system knows no locks.
    _lock: Option<File>,
}

impl Scratch {
    /// Makes a folder in `parent`, which is there, and clears what killed runs left beside it.
    pub(crate) fn try_new(parent: &Path) -> Result<Self, PipelineError> {
        let failed = |source| PipelineError::Scratch {
            action: "create a folder in",
            path: parent.to_owned(),
            source,
        };
        let together = locked(parent);
        if together.is_some() {
            clear(parent);
        }
        // Open to its owner alone (mode 0700), as tempfile makes it: fragments hold what people asked.
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent)
            .map_err(failed)?;
        let lock = together.is_some().then(|| locked(folder.path())).flatten();
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    /// A new folder in it.
    pub(crate) fn subfolder(&self) -> Result<TempDir, PipelineError> {
        let path = self.folder.path();
        let failed = |source| PipelineError::Scratch {
            action: "create a folder in",
            path: path.to_owned(),
            source,
        };
        tempfile::tempdir_in(path).map_err(failed)
    }
}

/// Waits for the lock on a folder, which stands until the file is closed; `None` where there are no locks.
fn locked(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    file.lock().ok().map(|()| file)
}

/// Removes the folders of runs that are no more. What cannot be removed, another user's among them, stays.
fn clear(parent: &Path) {
    for folder in left_behind(parent).unwrap_or_default() {
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => {
                tracing::info!(folder = %folder.display(), "cleared what a killed run left in scratch");
            }
            Err(error) => {
                tracing::debug!(folder = %folder.display(), %error, "cannot clear a folder in scratch");
            }
        }
    }
}

fn left_behind(parent: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        let is_ours = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
            && path.is_dir();
        if is_ours && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            folders.push(path);
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_holds_is_cleared() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join("answerlake-left");
        let other = parent.path().join("other");
        std::fs::create_dir_all(left.join("deep")).unwrap();
        std::fs::create_dir(&other).unwrap();
        let alive = Scratch::try_new(parent.path()).unwrap();
        assert!(!left.exists() && other.exists());
        let file = alive.subfolder().unwrap().keep().join("file");
        std::fs::write(&file, "content").unwrap();
        let second = Scratch::try_new(parent.path()).unwrap();
        assert!(file.exists());
        let path = alive.folder.path().to_owned();
        drop(alive);
        assert!(!path.exists() && second.folder.path().exists());
    }
}
