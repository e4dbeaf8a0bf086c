//! What killed and late writers leave in a lake: found, told apart from what is still needed, and removed.

use std::collections::{BTreeSet, HashSet};
use std::io::ErrorKind;
use std::path::Path as FilePath;

use object_store::path::Path;
use serde::Serialize;

use crate::error::LoadError;
use crate::lake::Lake;
use crate::local_listing::{self, is_in_the_making};
use crate::location;
use crate::staging::Age;
use crate::store::{all, run_blocking};

/// Something in a lake that nobody needs, or that looks like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Where, relative to the lake.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Why it stays; `None` where it goes.
    pub kept: Option<KeptBecause>,
}

/// What can be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverKind {
    /// A file that was staged, and is not committed.
    StagedFile,
    /// A file on a disk that is not written whole: `name#1`. The store shows it to nobody.
    CutWrite,
    /// A file in a table's folder that no newest revision lists.
    UnlistedFile,
    /// The record of an export job.
    JobRecord,
    /// The note of a failure.
    FailureNote,
    /// A folder on a disk with nothing in it.
    EmptyFolder,
}

impl LeftoverKind {
    /// What one is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::StagedFile => "staged file",
            Self::CutWrite => "half-written file",
            Self::UnlistedFile => "unlisted data file",
            Self::JobRecord => "job record",
            Self::FailureNote => "failure note",
            Self::EmptyFolder => "empty folder",
        }
    }
}

/// Why something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBecause {
    /// A run may be at work on it.
    Young,
    /// It belongs to a revision that is not published.
    Needed,
    /// Nothing proves that this program made it.
    NotOurs,
}

impl Lake {
    /// What the store does not show of a disk: files that are not written whole, and folders that are empty or will be
    /// once what goes of `found` has gone. Nothing on other stores.
    pub(crate) async fn local_leftovers(
        &self,
        folders: Vec<String>,
        found: &[Leftover],
        age: Age,
    ) -> Result<Vec<Leftover>, LoadError> {
        let Some(root) = self.store.local_root().cloned() else {
            return Ok(Vec::new());
        };
        let gone = found.iter().filter(|file| file.kept.is_none());
        let gone: HashSet<String> = gone.map(|file| file.path.clone()).collect();
        run_blocking(move || {
            let paths: Vec<_> = gone.iter().map(|path| Path::from(path.as_str())).collect();
            let mut walk = Walk {
                root: &root,
                emptied: location::folders_of(&paths)
                    .iter()
                    .map(Path::to_string)
                    .collect(),
                gone: &gone,
                age,
                found: Vec::new(),
            };
            for folder in folders {
                walk.visit(&folder)?;
            }
            Ok(walk.found)
        })
        .await
    }

    /// Removes what of `found` does not stay. Folders are removed last, and only where they are empty by then.
    pub(crate) async fn remove(&self, found: &[Leftover]) -> Result<(), LoadError> {
        let goes = || found.iter().filter(|one| one.kept.is_none());
        let is_local = |kind| matches!(kind, LeftoverKind::CutWrite | LeftoverKind::EmptyFolder);
        let objects = goes().filter(|one| !is_local(one.kind));
        let deletes =
            objects.map(async |one| self.store.delete(&Path::from(one.path.as_str())).await);
        all(deletes.collect()).await?;
        let Some(root) = self.store.local_root().cloned() else {
            return Ok(());
        };
        let local: Vec<_> = goes().filter(|one| is_local(one.kind)).cloned().collect();
        run_blocking(move || {
            for one in local {
                let path = root.join(&one.path);
                if one.kind == LeftoverKind::EmptyFolder {
                    // Somebody may use it again by now.
                    let _ = std::fs::remove_dir(path);
                } else if let Err(error) = std::fs::remove_file(path)
                    && error.kind() != ErrorKind::NotFound
                {
                    let path = Path::from(one.path.as_str());
                    return Err(local_listing::failed("delete", &path, error));
                }
            }
            // It is made for a moment whenever the store's clock is read.
            let _ = std::fs::remove_dir(root.join(location::all_staging().as_ref()));
            Ok(())
        })
        .await
    }
}

/// A walk through the folders of a disk.
struct Walk<'w> {
    root: &'w FilePath,
    /// The files that go.
    gone: &'w HashSet<String>,
    /// The folders that they lie in.
    emptied: BTreeSet<String>,
    age: Age,
    found: Vec<Leftover>,
}

impl Walk<'_> {
    /// Looks through a folder; tells whether it goes. Links are not followed.
    fn visit(&mut self, folder: &str) -> Result<bool, LoadError> {
        let path = self.root.join(folder);
        let failed = |error| local_listing::failed("list", &Path::from(folder), error);
        // What does not need a look at each file: only of folders and of what is in the making the age is asked.
        let modified = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found.and_then(|found| found.modified()).map_err(failed)?,
        };
        let mut is_empty = true;
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let (Some(name), kind) = (name.to_str(), entry.file_type().map_err(failed)?) else {
                is_empty = false;
                continue;
            };
            let inner = format!("{folder}/{name}");
            is_empty &= if kind.is_dir() {
                self.visit(&inner)?
            } else if kind.is_file() && is_in_the_making(name) {
                self.cut_write(inner)
            } else {
                self.gone.contains(&inner)
            };
        }
        let goes =
            is_empty && (self.age.is_reached(modified.into()) || self.emptied.contains(folder));
        if goes {
            self.found.push(Leftover {
                kind: LeftoverKind::EmptyFolder,
                path: folder.to_owned(),
                bytes: 0,
                kept: None,
            });
        }
        Ok(goes)
    }

    /// Notes a file in the making; tells whether it goes.
    fn cut_write(&mut self, path: String) -> bool {
        let Ok(metadata) = self.root.join(&path).metadata() else {
            // It is whole by now, or gone.
            return false;
        };
        let is_old = metadata
            .modified()
            .is_ok_and(|modified| self.age.is_reached(modified.into()));
        self.found.push(Leftover {
            kind: LeftoverKind::CutWrite,
            path,
            bytes: metadata.len(),
            kept: (!is_old).then_some(KeptBecause::Young),
        });
        is_old
    }
}
