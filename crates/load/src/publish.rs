//! Brings a committed revision's files to their places.
//!
//! Every step is idempotent and anyone may do it, the committer, the next run or `recover`, even several at once. What
//! is there already is found by looking, never by what an error says.

use answerlake_model::PartitionKey;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::data_file::DataFile;
use crate::error::{LoadError, is_on_another_disk};
use crate::lake::Lake;
use crate::location;
use crate::manifest::Manifest;
use crate::store::all;

/// How publishing ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// The files are in place, and the marker says so.
    InPlace,
    /// A later revision exists, so someone else published this one.
    Superseded,
}

impl Lake {
    /// Publishes a revision.
    ///
    /// Whoever is stopped in here and goes on hours later does no harm: what was dropped meanwhile is not brought back,
    /// or is withdrawn; the names that are deleted are never used again; and nothing is moved unless all is there, so
    /// that no reader sees half of a revision that cannot be published.
    ///
    /// # Errors
    /// [`LoadError::Broken`] when a file is neither staged nor in place.
    pub(crate) async fn publish(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
    ) -> Result<Published, LoadError> {
        let revision = manifest.revision;
        if self.is_superseded(key, revision).await? {
            return Ok(Published::Superseded);
        }
        let (staged, missing) = self.where_files_are(manifest).await?;
        let published = match missing.is_empty() {
            true => self.bring_in_place(key, manifest, &staged).await,
            false => Err(broken(key, revision, missing)),
        };
        let is_certain = staged.is_empty() && published.is_ok();
        if is_certain || !self.is_superseded(key, revision).await? {
            // Where its manifest is gone too, it is the lake or the bucket that is.
            let is_broken = matches!(published, Err(LoadError::Broken { .. }));
            if is_broken && self.read_manifest(key, revision).await?.is_none() {
                return Err(Self::lost_manifest(key, revision));
            }
            return published;
        }
        // Whatever it met: another has published the revision, and may have dropped its files before they were moved.
        self.withdraw(key, &staged).await?;
        Ok(Published::Superseded)
    }

    async fn bring_in_place(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
        staged: &[&DataFile],
    ) -> Result<Published, LoadError> {
        let moves = staged.iter().map(async |file| {
            let is_placed = self.place_file(file).await?;
            Ok((!is_placed).then(|| file.path.clone()))
        });
        let missing: Vec<_> = all(moves.collect()).await?.into_iter().flatten().collect();
        if !missing.is_empty() {
            return Err(broken(key, manifest.revision, missing));
        }
        let dropped = manifest.dropped.iter().map(String::as_str);
        self.delete_all(dropped.clone()).await?;
        self.delete_staging(manifest).await?;
        // After a power cut, too, a marker must say what is so: files in their places, and dropped ones gone.
        let placed = manifest.files.iter().map(|file| file.path.as_str());
        let changed: Vec<_> = placed.chain(dropped).map(Path::from).collect();
        self.store.sync_folders(&changed).await?;
        let marker = location::published_marker(key, manifest.revision);
        self.store.ensure(&marker, bytes::Bytes::new()).await?;
        Ok(Published::InPlace)
    }

    /// Deletes what a revision staged.
    pub(crate) async fn delete_staging(&self, manifest: &Manifest) -> Result<(), LoadError> {
        let staged = || manifest.files.iter().filter_map(DataFile::staged_path);
        self.delete_all(staged()).await?;
        if let Some(root) = self.store.local_root().cloned() {
            // Folders exist on a disk only. One that is not empty is someone else's still; that it stays is no error.
            let files: Vec<_> = staged().map(Path::from).collect();
            let folders = location::folders_of(&files);
            let remove = move || {
                for folder in folders {
                    let _ = std::fs::remove_dir(root.join(folder.as_ref()));
                }
            };
            let _ = tokio::task::spawn_blocking(remove).await;
        }
        Ok(())
    }

    /// The new files that are staged, and the paths of those that are nowhere; the others are in place.
    async fn where_files_are<'m>(
        &self,
        manifest: &'m Manifest,
    ) -> Result<(Vec<&'m DataFile>, Vec<String>), LoadError> {
        let looks = manifest.files.iter().map(async |file| {
            let Some(place) = file.staged_path() else {
                return Ok(None);
            };
            // A publisher moves it from the one place to the other, so the place it leaves is looked at first.
            let is_staged = self.has_file(place, file.bytes).await?;
            let is_there = is_staged || self.has_file(&file.path, file.bytes).await?;
            Ok(Some((file, is_staged, is_there)))
        });
        let (mut staged, mut missing) = (Vec::new(), Vec::new());
        for (file, is_staged, is_there) in all(looks.collect()).await?.into_iter().flatten() {
            if is_staged {
                staged.push(file);
            } else if !is_there {
                missing.push(file.path.clone());
            }
        }
        Ok((staged, missing))
    }

    /// Moves a file that was seen staged to its place; says whether it is there.
    async fn place_file(&self, file: &DataFile) -> Result<bool, LoadError> {
        let staged = file.staged_path().unwrap_or_default();
        let (from, to) = (Path::from(staged), Path::from(file.path.as_str()));
        // The name is never used for other bytes, so it does no harm to move over one that came there meanwhile.
        let Err(error) = self.store.object_store().rename(&from, &to).await else {
            return Ok(true);
        };
        if self.has_file(&file.path, file.bytes).await? {
            return Ok(true);
        }
        if self.has_file(staged, file.bytes).await? {
            return match self.store.local_root() {
                // A table's folder on another disk, through a link or a mount: the one place where a file is copied.
                Some(root) if is_on_another_disk(&error) => {
                    self.store
                        .upload("publish", &root.join(staged), &to)
                        .await?;
                    Ok(true)
                }
                _ => Err(LoadError::store("publish", &to)(error)),
            };
        }
        // Another may have moved it between the two looks.
        self.has_file(&file.path, file.bytes).await
    }

    async fn delete_all(&self, paths: impl Iterator<Item = &str>) -> Result<(), LoadError> {
        let deletes = paths.map(async |path| self.store.delete(&Path::from(path)).await);
        all(deletes.collect()).await.map(drop)
    }

    /// Takes back what was brought into place late: whoever published a later revision may have deleted it before.
    async fn withdraw(&self, key: &PartitionKey, placed: &[&DataFile]) -> Result<(), LoadError> {
        // Of a later revision that is not published, readers still have the files before; and one that is broken is
        // followed by one that drops them.
        let Some(newest) = Box::pin(self.settle(key)).await? else {
            return Ok(());
        };
        if newest.is_broken() {
            return Ok(());
        }
        let is_live = |path: &str| newest.manifest.files.iter().any(|file| file.path == path);
        let placed = placed.iter().map(|file| file.path.as_str());
        self.delete_all(placed.filter(|path| !is_live(path))).await
    }
}

fn broken(key: &PartitionKey, revision: u64, missing: Vec<String>) -> LoadError {
    LoadError::Broken {
        partition: key.clone(),
        revision,
        missing,
    }
}
