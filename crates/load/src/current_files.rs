//! The files that readers may take: of each partition, those of its newest revision whose files are all in place.
//!
//! A revision is committed once its manifest is there, and its files come to their places after that. Until the last of
//! them has, the files of the revision before are all there still, and after that its own are; so at any time there is
//! one revision that can be read whole, and nobody has to wait for who publishes.

use std::collections::BTreeMap;

use answerlake_model::PartitionKey;
use chrono::{DateTime, Utc};

use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::lake::{Head, Lake};
use crate::location;
use crate::manifest::Manifest;
use crate::store::all;

/// How often a partition is looked at again that was replaced in the meantime.
const LOOKS: usize = 8;

/// What readers may take of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct CurrentFiles {
    /// The partition.
    pub key: PartitionKey,
    /// The newest revision there is.
    pub newest: u64,
    /// The revision that can be read; `None` where there is none: the first one is not in place yet, or files were lost.
    pub readable: Option<ReadableRevision>,
}

/// A revision whose files are all in place.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadableRevision {
    /// Its number.
    pub revision: u64,
    /// When it was committed, by the clock of who did.
    pub committed_at: DateTime<Utc>,
    /// Its files; none where the partition has no records.
    pub files: Vec<DataFile>,
}

impl Lake {
    /// What readers may take of the partitions that a listing showed, in their order.
    ///
    /// # Errors
    /// When the store cannot be read, or a manifest is not as this program or an older one writes it.
    pub async fn current_files(
        &self,
        heads: Vec<(PartitionKey, Head)>,
    ) -> Result<Vec<CurrentFiles>, LoadError> {
        let published: Vec<_> = heads
            .iter()
            .filter(|(_, head)| head.published)
            .cloned()
            .collect();
        let read = self.read_manifests(&published, Manifest::from_json).await?;
        let mut manifests: BTreeMap<&PartitionKey, Manifest> = BTreeMap::new();
        for ((key, head), manifest) in published.iter().zip(read) {
            let manifest = manifest.ok_or_else(|| Self::lost_manifest(key, head.revision))?;
            manifests.insert(key, manifest);
        }
        let current = heads.iter().map(|(key, head)| {
            let manifest = manifests.remove(key);
            async move {
                match manifest {
                    Some(manifest) => Ok(CurrentFiles {
                        key: key.clone(),
                        newest: head.revision,
                        readable: Some(manifest.into()),
                    }),
                    None => self.readable(key, *head).await,
                }
            }
        });
        all(current.collect()).await
    }

    /// The files of a revision, in place or not; `None` where there is no such revision.
    ///
    /// # Errors
    /// As [`Lake::current_files`].
    pub async fn files_of_revision(
        &self,
        key: &PartitionKey,
        revision: u64,
    ) -> Result<Option<Vec<DataFile>>, LoadError> {
        let manifest = self.read_manifest(key, revision).await?;
        Ok(manifest.map(|manifest| manifest.files))
    }

    /// Looks for the newest revision that is in place, from an unpublished one on backwards.
    async fn readable(&self, key: &PartitionKey, head: Head) -> Result<CurrentFiles, LoadError> {
        for newest in (head.revision..).take(LOOKS) {
            let readable = self.newest_in_place(key, newest).await?;
            let current = CurrentFiles {
                key: key.clone(),
                newest,
                readable: readable.map(ReadableRevision::from),
            };
            // Files that come to their places while one looks may be seen at neither.
            let has_moved = self.is_superseded(key, newest).await?;
            if current.readable.is_some() || !has_moved {
                return self.look_once_more(current).await;
            }
        }
        Err(LoadError::Busy {
            partition: key.clone(),
            tries: LOOKS as u32,
        })
    }

    /// The newest revision up to `newest` whose files are all in place; `None` where there is none.
    pub(crate) async fn newest_in_place(
        &self,
        key: &PartitionKey,
        newest: u64,
    ) -> Result<Option<Manifest>, LoadError> {
        for revision in (1..=newest).rev() {
            let manifest = self
                .read_manifest(key, revision)
                .await?
                .ok_or_else(|| Self::lost_manifest(key, revision))?;
            if self.is_in_place(&manifest).await? {
                return Ok(Some(manifest));
            }
            // What stands before a published revision is gone.
            let marker = location::published_marker(key, revision);
            if self.store.head(&marker).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// A revision that was not in place may be by now, where another publishes it.
    async fn look_once_more(&self, mut current: CurrentFiles) -> Result<CurrentFiles, LoadError> {
        if current.readable.is_none()
            && let Some(manifest) = self.read_manifest(&current.key, current.newest).await?
            && self.is_in_place(&manifest).await?
        {
            current.readable = Some(manifest.into());
        }
        Ok(current)
    }

    async fn is_in_place(&self, manifest: &Manifest) -> Result<bool, LoadError> {
        let looks = manifest
            .files
            .iter()
            .map(|file| self.has_file(&file.path, file.bytes));
        Ok(all(looks.collect()).await?.into_iter().all(|there| there))
    }
}

impl From<Manifest> for ReadableRevision {
    fn from(manifest: Manifest) -> Self {
        Self {
            revision: manifest.revision,
            committed_at: manifest.created_at,
            files: manifest.files,
        }
    }
}
