//! Clears what killed runs left in staging.
//!
//! By age alone nobody can tell a killed run from a slow one, so the bounds are wide: what was staged is removed once
//! it is [`STAGING_MAX_AGE`] old by the store's own clock, and a run stages anew what is older than a quarter of that
//! before it commits. What an unpublished revision names is never touched, however old: `recover` needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use answerlake_model::PartitionKey;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use object_store::path::Path;
use uuid::Uuid;

use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::lake::Lake;
use crate::location;
use crate::store::{all, run_blocking};

/// How old staging is when nobody can be about to commit it any more.
pub const STAGING_MAX_AGE: Duration = Duration::from_secs(48 * 60 * 60);

/// What was cleared from staging.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClearedStaging {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that stay: too young, or named by a revision that is not published.
    pub kept: u64,
}

impl Lake {
    /// Removes staged files that are older than `max_age` (usually [`STAGING_MAX_AGE`]) and that no unpublished
    /// revision names, and on a local disk the folders that are empty then. One listing, when nothing is staged.
    ///
    /// # Errors
    /// When the store fails; what was removed until then stays so.
    pub async fn clear_staging(&self, max_age: Duration) -> Result<ClearedStaging, LoadError> {
        let staged = self.store.list(&location::all_staging(), None).await?;
        let mut cleared = ClearedStaging::default();
        let mut removed = Vec::new();
        if !staged.is_empty() {
            let now = self.store_time().await?;
            let protected = self.protected(&staged).await?;
            let is_left = |file: &&ObjectMeta| {
                let age = (now - file.last_modified).to_std().unwrap_or_default();
                let key = location::parse_staged_file(&file.location);
                // What is not laid out as this program does it is a newer one's to judge.
                let may_be_named = match key.as_ref().map(|key| &protected[key]) {
                    Some(Protected::Files(files)) => files.contains(&file.location),
                    Some(Protected::All) => true,
                    None => !location::is_clock(&file.location),
                };
                age >= max_age && !may_be_named
            };
            let (left, kept): (Vec<_>, Vec<_>) = staged.iter().partition(is_left);
            let deletes = left
                .iter()
                .map(async |file| self.store.delete(&file.location).await);
            all(deletes.collect()).await?;
            cleared = ClearedStaging {
                files: left.len() as u64,
                bytes: left.iter().map(|file| file.size).sum(),
                kept: kept.len() as u64,
            };
            removed = left.into_iter().map(|file| file.location.clone()).collect();
        }
        if let Some(root) = self.store.local_root().cloned() {
            run_blocking(move || clear_folders(&root, &removed, max_age)).await;
        }
        Ok(cleared)
    }

    /// The time by the clock that the store stamps its objects with, which may not be ours.
    async fn store_time(&self) -> Result<DateTime<Utc>, LoadError> {
        let path = location::clock(&Uuid::new_v4().to_string());
        self.store.overwrite(&path, Bytes::new()).await?;
        let written = self.store.head(&path).await;
        self.store.delete(&path).await?;
        let written = written?.ok_or_else(|| {
            LoadError::store("look at", &path)(object_store::Error::NotFound {
                path: path.to_string(),
                source: "it was just written".into(),
            })
        })?;
        Ok(written.last_modified)
    }

    /// Of each partition that something is staged for, what must stay.
    async fn protected(
        &self,
        staged: &[ObjectMeta],
    ) -> Result<BTreeMap<PartitionKey, Protected>, LoadError> {
        let keys: BTreeSet<_> = staged
            .iter()
            .filter_map(|file| location::parse_staged_file(&file.location))
            .collect();
        let looks = keys.into_iter().map(async |key| {
            let state = match self.state(&key).await {
                // What cannot be understood may name any of it.
                Err(LoadError::NewerFormat { .. } | LoadError::Malformed { .. }) => {
                    return Ok((key, Protected::All));
                }
                state => state?,
            };
            let unpublished = state.filter(|state| !state.published);
            let named = unpublished.map_or_else(BTreeSet::new, |state| {
                let files = state.manifest.files.iter();
                files
                    .filter_map(DataFile::staged_path)
                    .map(Path::from)
                    .collect()
            });
            Ok((key, Protected::Files(named)))
        });
        Ok(all(looks.collect()).await?.into_iter().collect())
    }
}

enum Protected {
    Files(BTreeSet<Path>),
    All,
}

/// Removes the folders that held `removed`, and others in staging that nobody used for `max_age`, where they are
/// empty; and what writers that were killed left of files in the making. That something stays is no error.
fn clear_folders(root: &FilePath, removed: &[Path], max_age: Duration) {
    for folder in location::folders_of(removed) {
        if folder.prefix_matches(&location::all_staging()) {
            let _ = std::fs::remove_dir(root.join(folder.as_ref()));
        }
    }
    let staging = root.join(location::all_staging().as_ref());
    clear_folder(&staging, max_age);
    let _ = std::fs::remove_dir(staging);
}

fn clear_folder(folder: &FilePath, max_age: Duration) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let is_old = |path: &PathBuf| {
        let modified = path.metadata().and_then(|found| found.modified());
        modified.is_ok_and(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age >= max_age)
        })
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        // Looked at first: what goes out of a folder makes it young again.
        let was_old = is_old(&path);
        if path.is_dir() {
            clear_folder(&path, max_age);
            if was_old {
                let _ = std::fs::remove_dir(&path);
            }
        } else if was_old && is_in_the_making(&path) {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Whether the store shows the file to nobody, because it is not written whole yet: `name#1`.
fn is_in_the_making(path: &FilePath) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('#').is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
