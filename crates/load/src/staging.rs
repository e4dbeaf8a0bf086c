//! Clears what killed runs left in staging.
//!
//! By age alone nobody can tell a killed run from a slow one, so the bounds are wide: what was staged is removed once
//! it is [`STAGING_MAX_AGE`] old by the store's own clock, and a run stages anew what is older than a quarter of that
//! before it commits. What an unpublished revision names is never touched, however old: `recover` needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use answerlake_model::PartitionKey;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::ObjectMeta;
use object_store::path::Path;
use uuid::Uuid;

use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::lake::Lake;
use crate::leftover::{KeptBecause, Leftover, LeftoverKind};
use crate::location;
use crate::store::all;

/// How old staging is when nobody can be about to commit it any more.
pub const STAGING_MAX_AGE: Duration = Duration::from_secs(48 * 60 * 60);

/// How often the clock is read until the object that it is read off is not cleared before.
const CLOCK_TRIES: u32 = 3;

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

/// When something is old.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Age {
    pub(crate) now: DateTime<Utc>,
    pub(crate) max: Duration,
}

impl Age {
    pub(crate) fn is_reached(self, modified: DateTime<Utc>) -> bool {
        (self.now - modified).to_std().unwrap_or_default() >= self.max
    }
}

impl Lake {
    /// Removes staged files that are older than `max_age` (usually [`STAGING_MAX_AGE`]) and that no unpublished
    /// revision names, and on a local disk the folders that are empty then. One listing, when nothing is staged.
    ///
    /// # Errors
    /// When the store fails; what was removed until then stays so.
    pub async fn clear_staging(&self, max_age: Duration) -> Result<ClearedStaging, LoadError> {
        let staged = self.store.list(&location::all_staging(), None).await?;
        if staged.is_empty() && self.store.local_root().is_none() {
            return Ok(ClearedStaging::default());
        }
        let now = match staged.is_empty() {
            // Only folders and what is in the making can be left: those have the time of this machine's disk.
            true => Utc::now(),
            false => self.store_time().await?,
        };
        let age = Age { now, max: max_age };
        let mut found = self.staged_leftovers(staged, age).await?;
        let files = |kept: bool| {
            let files = found.iter();
            files.filter(move |file| file.kept.is_some() == kept)
        };
        let cleared = ClearedStaging {
            files: files(false).count() as u64,
            bytes: files(false).map(|file| file.bytes).sum(),
            kept: files(true).count() as u64,
        };
        let folders = vec![location::all_staging().to_string()];
        found.extend(self.local_leftovers(folders, &found, age).await?);
        self.remove(&found).await?;
        Ok(cleared)
    }

    /// What of `staged` a killed run left, and what stays.
    pub(crate) async fn staged_leftovers(
        &self,
        staged: Vec<ObjectMeta>,
        age: Age,
    ) -> Result<Vec<Leftover>, LoadError> {
        let protected = self.protected(&staged).await?;
        let found = staged.into_iter().map(|file| {
            let key = location::parse_staged_file(&file.location);
            let kept = match key.as_ref().map(|key| &protected[key]) {
                Some(Protected::Files(files)) if files.contains(&file.location) => {
                    Some(KeptBecause::Needed)
                }
                Some(Protected::Files(_)) => None,
                // What is not laid out as this program does it is a newer one's to judge.
                Some(Protected::All) => Some(KeptBecause::NotOurs),
                None => (!location::is_clock(&file.location)).then_some(KeptBecause::NotOurs),
            };
            let is_young = !age.is_reached(file.last_modified);
            Leftover {
                kind: LeftoverKind::StagedFile,
                path: file.location.to_string(),
                bytes: file.size,
                kept: kept.or(is_young.then_some(KeptBecause::Young)),
            }
        });
        Ok(found.collect())
    }

    /// The time by the clock that the store stamps its objects with, which may not be ours.
    pub(crate) async fn store_time(&self) -> Result<DateTime<Utc>, LoadError> {
        let path = location::clock(&Uuid::new_v4().to_string());
        for _ in 0..CLOCK_TRIES {
            self.store.overwrite(&path, Bytes::new()).await?;
            let written = self.store.head(&path).await;
            self.store.delete(&path).await?;
            // Where we were stopped for days in between, another may have cleared it.
            if let Some(written) = written? {
                return Ok(written.last_modified);
            }
        }
        Err(LoadError::store("look at", &path)(
            object_store::Error::NotFound {
                path: path.to_string(),
                source: "it was just written".into(),
            },
        ))
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
