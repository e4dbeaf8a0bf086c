//! What jobs brought, as it was fetched: kept in the lake beside what was made of it, and cleared when it is old.
//!
//! A landing is a folder: the job, its fragments, and a manifest that comes last and says what is there. One without a
//! manifest is not whole.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use answerlake_model::{AppId, JobId, Window};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;

use crate::address::LakeAddress;
use crate::error::LoadError;
use crate::lake::Lake;
use crate::location::{self, LANDING_MANIFEST};
use crate::store::LakeStore;

/// The folder of what a job brought.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LandingFolder(Path);

impl LandingFolder {
    /// The folder in a lake; `window` is the one that was wanted, without the margin.
    pub fn new(app_id: &AppId, window: Window, job_id: &JobId) -> Self {
        Self(location::landing(app_id, window, job_id))
    }
}

impl std::fmt::Display for LandingFolder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl Lake {
    /// Keeps a scratch file in the folder of a landing, in place of an older one of that name; it is never held in
    /// memory.
    ///
    /// # Errors
    /// When the file cannot be read or the store cannot be written; repeating it is harmless.
    pub async fn land_file(
        &self,
        landing: &LandingFolder,
        name: &str,
        scratch: &FilePath,
    ) -> Result<(), LoadError> {
        let path = landing.0.clone().join(name);
        self.store.bring("write", scratch, &path).await?;
        self.store.sync_folders([&path]).await
    }

    /// Keeps a small object in the folder of a landing, in place of an older one of that name.
    ///
    /// # Errors
    /// When the store cannot be written; repeating it is harmless.
    pub async fn land(
        &self,
        landing: &LandingFolder,
        name: &str,
        content: Bytes,
    ) -> Result<(), LoadError> {
        let path = landing.0.clone().join(name);
        self.store.overwrite(&path, content).await
    }

    /// Removes the landings of an app of which nothing is as young as `oldest`, by the store's clock; gives how many
    /// there were. The manifest goes first, so that none is taken for whole that is not.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn clear_landings(
        &self,
        app_id: &AppId,
        oldest: DateTime<Utc>,
    ) -> Result<usize, LoadError> {
        let mut landings: BTreeMap<Path, (DateTime<Utc>, Vec<Path>)> = BTreeMap::new();
        for object in self.store.list(&location::raw(app_id), None).await? {
            let Some(folder) = location::parse_landed(&object.location) else {
                continue;
            };
            let (newest, objects) = landings.entry(folder).or_default();
            *newest = object.last_modified.max(*newest);
            objects.push(object.location);
        }
        landings.retain(|_, (newest, _)| *newest < oldest);
        for (_, objects) in landings.values_mut() {
            objects.sort_by_key(|path| path.filename() != Some(LANDING_MANIFEST));
            for path in objects {
                self.store.delete(path).await?;
            }
        }
        Ok(landings.len())
    }
}

/// Landings in a lake, in a part of one, or in a copy of either, to be read again.
#[derive(Debug)]
pub struct Landings {
    store: LakeStore,
}

/// A landing that is whole.
#[derive(Debug)]
pub struct FoundLanding {
    /// Where it lies.
    pub folder: LandingFolder,
    /// Its manifest.
    pub manifest: Bytes,
}

impl Landings {
    /// Opens the folder or the address below which they lie.
    ///
    /// # Errors
    /// As [`LakeStore::open`].
    pub async fn open(address: impl Into<LakeAddress>) -> Result<Self, LoadError> {
        let store = LakeStore::open_to_read(address).await?;
        Ok(Self { store })
    }

    /// Those that are whole, by their place.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find(&self) -> Result<Vec<FoundLanding>, LoadError> {
        let mut paths = self.store.list_paths(&Path::default(), None).await?;
        paths.retain(|path| path.filename() == Some(LANDING_MANIFEST));
        paths.sort();
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            if let Some(manifest) = self.store.read(&path).await? {
                let folder = path.as_ref().strip_suffix(LANDING_MANIFEST);
                let folder = Path::from(folder.unwrap_or_default());
                let folder = LandingFolder(folder);
                found.push(FoundLanding { folder, manifest });
            }
        }
        Ok(found)
    }

    /// Where a file of a landing lies on this machine: as it is, or brought to `scratch`, which is a name that is free.
    ///
    /// # Errors
    /// When the store cannot be read or the file cannot be written.
    pub async fn file(
        &self,
        landing: &LandingFolder,
        name: &str,
        scratch: &FilePath,
    ) -> Result<PathBuf, LoadError> {
        let path = landing.0.clone().join(name);
        if let Some(root) = self.store.local_root() {
            return Ok(root.join(path.as_ref()));
        }
        let unreadable = LoadError::store("read", &path);
        let got = self.store.object_store().get(&path).await;
        let mut bytes = match got {
            Ok(got) => got.into_stream(),
            Err(source) => return Err(unreadable(source)),
        };
        let unwritable = |source| LoadError::scratch("write", scratch)(source);
        let mut file = tokio::fs::File::create(scratch).await.map_err(unwritable)?;
        while let Some(part) = bytes
            .try_next()
            .await
            .map_err(LoadError::store("read", &path))?
        {
            file.write_all(&part).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)?;
        Ok(scratch.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use object_store::memory::InMemory;

    use super::*;

    fn landing(job: &str) -> LandingFolder {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let window = Window::try_new(time("2025-06-24T00:00:00Z"), time("2025-06-25T00:00:00Z"));
        LandingFolder::new(
            &AppId::try_new("st-1").unwrap(),
            window.unwrap(),
            &JobId::try_new(job).unwrap(),
        )
    }

    #[tokio::test]
    async fn what_lands_is_found_again_once_it_is_whole_and_cleared_when_it_is_old() {
        let store = LakeStore::from_object_store("memory://lake", Arc::new(InMemory::new()));
        let (lake, landings) = (Lake::new(store.clone()), Landings { store });
        let folder = tempfile::tempdir().unwrap();
        let scratch = folder.path().join("scratch");
        std::fs::write(&scratch, "content").unwrap();
        let (whole, torn) = (landing("fj-1"), landing("fj-2"));
        assert_eq!(
            whole.to_string(),
            "_answerlake/raw/app_id=st-1/window=20250624T000000Z_20250625T000000Z/job=fj-1"
        );
        for folder in [&whole, &torn] {
            // Again, as after a kill.
            lake.land_file(folder, "fragment", &scratch).await.unwrap();
            lake.land_file(folder, "fragment", &scratch).await.unwrap();
        }
        lake.land(&whole, LANDING_MANIFEST, "{}".into())
            .await
            .unwrap();
        let found = landings.find().await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&found[0].folder, found[0].manifest.as_ref()),
            (&whole, &b"{}"[..])
        );
        let to = folder.path().join("fetched");
        let file = landings.file(&whole, "fragment", &to).await.unwrap();
        assert_eq!(
            (std::fs::read(&file).unwrap(), file),
            (b"content".to_vec(), to)
        );

        let app_id = AppId::try_new("st-1").unwrap();
        let now = Utc::now();
        let young = lake
            .clear_landings(&app_id, now - TimeDelta::hours(1))
            .await;
        assert_eq!(young.unwrap(), 0);
        let other = AppId::try_new("st-2").unwrap();
        let later = now + TimeDelta::hours(1);
        assert_eq!(lake.clear_landings(&other, later).await.unwrap(), 0);
        assert_eq!(lake.clear_landings(&app_id, later).await.unwrap(), 2);
        assert!(
            landings
                .store
                .list_paths(&Path::default(), None)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
