//! A lake: what is committed in it, and the small objects beside the data.
//!
//! The lake is the only state there is. What a partition holds is what its newest manifest says; everything else here
//! is found by listing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use answerlake_model::{AppId, PartitionKey};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use tokio::sync::Semaphore;

use crate::checkpoint::Stamp;
use crate::error::LoadError;
use crate::location::{self, CommitObject};
use crate::manifest::Manifest;
use crate::store::{LakeStore, all};

/// A lake. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Lake {
    pub(crate) store: LakeStore,
    /// Held while the ids of a partition are compared.
    pub(crate) comparing: Arc<Semaphore>,
    /// Whether manifests that were read are summed up for who comes next.
    pub(crate) keeps_checkpoints: bool,
    /// Tells how long files have been staged.
    pub(crate) clock: fn() -> DateTime<Utc>,
}

/// What is committed of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionState {
    /// The newest revision.
    pub revision: u64,
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether its files are in place.
    pub published: bool,
    /// The final paths of files that are neither staged nor in place. Looked for only while it is unpublished.
    pub missing: Vec<String>,
}

impl PartitionState {
    /// Whether the revision cannot be published any more: the partition is to be committed again.
    pub fn is_broken(&self) -> bool {
        !self.missing.is_empty()
    }
}

/// A finished scratch file of records that are kept beside the tables.
#[derive(Debug, Clone)]
pub struct KeptFile {
    /// What records.
    pub kind: KeptKind,
    /// The partition whose day they are kept under.
    pub key: PartitionKey,
    /// Its name in the lake, made of its content.
    pub name: String,
    /// When the records were asked for; stands before the name of strays.
    pub as_of: Option<DateTime<Utc>>,
    /// Where it lies.
    pub scratch: PathBuf,
}

/// What records are kept beside the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeptKind {
    /// They came with another day's window.
    Strays,
    /// They could not be loaded.
    DeadLetters,
}

/// The newest revision of a partition, as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub revision: u64,
    /// Whether its files are in place.
    pub published: bool,
    /// Tells its manifest from any other; absent on a disk.
    pub stamp: Option<Stamp>,
}

impl Lake {
    /// Makes a lake of a store.
    pub fn new(store: LakeStore) -> Self {
        Self {
            store,
            comparing: Arc::new(Semaphore::new(1)),
            keeps_checkpoints: false,
            clock: Utc::now,
        }
    }

    /// The same, by another clock; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_clock(self, clock: fn() -> DateTime<Utc>) -> Self {
        Self { clock, ..self }
    }

    /// The store it lives in.
    pub fn store(&self) -> &LakeStore {
        &self.store
    }

    /// What is committed of a partition; `None` if nothing ever was.
    ///
    /// # Errors
    /// When the store cannot be read, or the manifest is not as this program or an older one writes it.
    pub async fn state(&self, key: &PartitionKey) -> Result<Option<PartitionState>, LoadError> {
        let folder = location::partition_commits(key);
        match self.list_heads(&folder, None).await?.get(key) {
            Some(head) => self.read_state(key, *head).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps files of records beside the tables, eight at once and none of them in memory. Those that are there
    /// already are left as they are, since a name is made of the content; strays that came again later stay those of
    /// the time when they came first. Returns where they are, in their order.
    ///
    /// # Errors
    /// When a file cannot be read or the store cannot be written; repeating it is harmless.
    pub async fn keep(&self, files: &[KeptFile]) -> Result<Vec<Path>, LoadError> {
        let kept = files.iter().map(async |file| {
            let folder = match file.kind {
                KeptKind::Strays => location::strays(&file.key),
                KeptKind::DeadLetters => location::dead_letters(&file.key),
            };
            let path = match file.as_of {
                Some(as_of) => {
                    let listed = self.store.list_paths(&folder, None).await?;
                    let is_it = |path: &&Path| path.as_ref().ends_with(&format!("-{}", file.name));
                    let found = listed.iter().find(is_it).cloned();
                    found.unwrap_or_else(|| folder.join(stray_name(as_of, &file.name)))
                }
                None => folder.join(file.name.as_str()),
            };
            if self.store.head(&path).await?.is_none() {
                self.store.bring("write", &file.scratch, &path).await?;
            }
            Ok(path)
        });
        let kept = all(kept.collect()).await?;
        self.store.sync_folders(&kept).await?;
        Ok(kept)
    }

    /// The names of the files of strays that an app has, by their partitions.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn strays(
        &self,
        app_id: &AppId,
    ) -> Result<BTreeMap<PartitionKey, BTreeSet<String>>, LoadError> {
        let folder = location::app_strays(app_id);
        let mut strays: BTreeMap<PartitionKey, BTreeSet<String>> = BTreeMap::new();
        for path in self.store.list_paths(&folder, None).await? {
            if let Some((key, name)) = location::parse_strays(&path) {
                strays.entry(key).or_default().insert(name);
            }
        }
        Ok(strays)
    }

    /// A file of strays as it is kept: compressed, a record a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read_strays(&self, key: &PartitionKey, name: &str) -> Result<Bytes, LoadError> {
        let path = location::strays(key).join(name);
        let found = self.store.read(&path).await?;
        found.ok_or_else(|| {
            LoadError::store("read", &path)(object_store::Error::NotFound {
                path: path.to_string(),
                source: "a listing showed it".into(),
            })
        })
    }

    /// Stores the record of a job in flight if there is none of its id; whether this one is stored now, rather than
    /// another.
    ///
    /// # Errors
    /// When the store cannot be written, or does not tell whether it was.
    pub async fn create_job(
        &self,
        app_id: &AppId,
        id: &str,
        json: Bytes,
    ) -> Result<bool, LoadError> {
        // One that stood there may be gone by the time it is looked at: then there is room.
        const TRIES: u32 = 5;
        let path = location::job(app_id, id);
        for tried in 1.. {
            let Err(error) = self.store.create(&path, json.clone()).await else {
                return Ok(true);
            };
            match self.store.read(&path).await? {
                Some(found) => return Ok(found == json),
                None if tried < TRIES => {}
                None => return Err(LoadError::store("create", &path)(error)),
            }
        }
        unreachable!("the last try returns")
    }

    /// Stores the record of a job in flight, in place of an older one of the same id.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_job(&self, app_id: &AppId, id: &str, json: Bytes) -> Result<(), LoadError> {
        self.store.overwrite(&location::job(app_id, id), json).await
    }

    /// The records of an app's jobs in flight: id and content, by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn jobs(&self, app_id: &AppId) -> Result<Vec<(String, Bytes)>, LoadError> {
        let named = self.store.read_folder(&location::jobs(app_id)).await?;
        let by_id = named
            .into_iter()
            .filter_map(|(name, json)| Some((name.strip_suffix(".json")?.to_owned(), json)));
        Ok(by_id.collect())
    }

    /// Forgets a job; it is no error if there is none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_job(&self, app_id: &AppId, id: &str) -> Result<(), LoadError> {
        self.store.delete(&location::job(app_id, id)).await
    }

    /// The newest revision of each partition below a folder of commits, those after `offset` if there is one.
    pub(crate) async fn list_heads(
        &self,
        folder: &Path,
        offset: Option<&Path>,
    ) -> Result<BTreeMap<PartitionKey, Head>, LoadError> {
        if self.store.local_root().is_some() {
            let listed = self.store.list_paths(folder, offset).await?;
            return Ok(heads(listed.into_iter().map(|path| (path, None))));
        }
        let listed = self.store.list(folder, offset).await?.into_iter();
        Ok(heads(listed.map(|object| {
            let stamp = Stamp::of(&object);
            (object.location, Some(stamp))
        })))
    }

    pub(crate) async fn read_manifest(
        &self,
        key: &PartitionKey,
        revision: u64,
    ) -> Result<Option<Manifest>, LoadError> {
        let path = location::manifest(key, revision);
        match self.store.read(&path).await? {
            Some(json) => Manifest::from_json(&path, &json).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a revision after this one exists. Revisions are created without gaps, so one look tells.
    pub(crate) async fn is_superseded(
        &self,
        key: &PartitionKey,
        revision: u64,
    ) -> Result<bool, LoadError> {
        let next = location::manifest(key, revision + 1);
        Ok(self.store.head(&next).await?.is_some())
    }

    /// Reads the state that a listing showed, or the one that came after it meanwhile.
    pub(crate) async fn read_state(
        &self,
        key: &PartitionKey,
        head: Head,
    ) -> Result<PartitionState, LoadError> {
        let Head {
            mut revision,
            mut published,
            ..
        } = head;
        loop {
            let manifest = self
                .read_manifest(key, revision)
                .await?
                .ok_or_else(|| Self::lost_manifest(key, revision))?;
            let missing = if published {
                Vec::new()
            } else {
                self.missing_files(&manifest).await?
            };
            // A later revision may have dropped what is missing here.
            if missing.is_empty() || !self.is_superseded(key, revision).await? {
                return Ok(PartitionState {
                    revision,
                    manifest,
                    published,
                    missing,
                });
            }
            revision += 1;
            let marker = location::published_marker(key, revision);
            published = self.store.head(&marker).await?.is_some();
        }
    }

    /// Manifests are never deleted, so one that a listing showed is there.
    pub(crate) fn lost_manifest(key: &PartitionKey, revision: u64) -> LoadError {
        let path = location::manifest(key, revision);
        LoadError::store("read", &path)(object_store::Error::NotFound {
            path: path.to_string(),
            source: "a listing showed it".into(),
        })
    }

    /// The new files of a revision that are neither staged nor in place.
    async fn missing_files(&self, manifest: &Manifest) -> Result<Vec<String>, LoadError> {
        let looks = manifest.files.iter().map(async |file| {
            let Some(staged) = file.staged_path() else {
                return Ok(None);
            };
            // A publisher moves it from the one place to the other, so the place it leaves is looked at first.
            for place in [staged, &file.path] {
                if self.has_file(place, file.bytes).await? {
                    return Ok(None);
                }
            }
            Ok(Some(file.path.clone()))
        });
        let missing = all(looks.collect()).await?;
        Ok(missing.into_iter().flatten().collect())
    }

    /// Whether the object is there with that size.
    pub(crate) async fn has_file(&self, path: &str, bytes: u64) -> Result<bool, LoadError> {
        let found = self.store.head(&Path::from(path)).await?;
        Ok(found.is_some_and(|object| object.size == bytes))
    }
}

/// What a file of strays is called.
fn stray_name(as_of: DateTime<Utc>, name: &str) -> String {
    format!("{}-{name}", as_of.format(STRAY_TIME))
}

const STRAY_TIME: &str = "%Y%m%dT%H%M%S%.3fZ";

/// When the strays of a file were asked for; `None` for a name that does not tell.
pub fn strays_as_of(name: &str) -> Option<DateTime<Utc>> {
    let (time, _) = name.split_once('-')?;
    let time = chrono::NaiveDateTime::parse_from_str(time, STRAY_TIME).ok()?;
    Some(time.and_utc())
}

/// The newest revision of each partition in a listing of commits.
fn heads(listed: impl IntoIterator<Item = (Path, Option<Stamp>)>) -> BTreeMap<PartitionKey, Head> {
    let mut newest: BTreeMap<PartitionKey, (u64, Option<Stamp>)> = BTreeMap::new();
    let mut markers = BTreeSet::new();
    for (path, stamp) in listed {
        match location::parse_commit_object(&path) {
            Some(CommitObject::Manifest(key, revision)) => {
                let known = newest.entry(key).or_default();
                if revision >= known.0 {
                    *known = (revision, stamp);
                }
            }
            Some(CommitObject::Marker(key, revision)) => {
                markers.insert((key, revision));
            }
            None => {}
        }
    }
    newest
        .into_iter()
        .map(|(key, (revision, stamp))| {
            let published = markers.contains(&(key.clone(), revision));
            (
                key,
                Head {
                    revision,
                    published,
                    stamp,
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_strays_tells_their_time() {
        let as_of = "2025-06-30T01:02:03.004Z".parse().unwrap();
        let name = stray_name(as_of, "ab.ndjson.zst");
        assert_eq!(name, "20250630T010203.004Z-ab.ndjson.zst");
        assert_eq!(strays_as_of(&name), Some(as_of));
        assert_eq!(strays_as_of("ab.ndjson.zst"), None);
    }
}
