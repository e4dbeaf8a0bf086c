//! Brings a committed revision's files to their places.
//!
//! Every step is idempotent and anyone may do it, the committer, the next run or `recover`, even several at once. What
//! is there already is found by looking, never by what an error says.

use answerlake_model::PartitionKey;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::data_file::DataFile;
use crate::error::LoadError;
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
        let missing = self.place_files(manifest).await?;
        if !missing.is_empty() {
            if self.is_superseded(key, revision).await? {
                return Ok(Published::Superseded);
            }
            return Err(LoadError::Broken {
                partition: key.clone(),
                revision,
                missing,
            });
        }
        self.delete_all(manifest.dropped.iter().map(String::as_str))
            .await?;
        self.delete_staging(manifest).await?;
        let marker = location::published_marker(key, revision);
        self.store.ensure(&marker, bytes::Bytes::new()).await?;
        if self.is_superseded(key, revision).await? {
            self.withdraw(key, manifest).await?;
        }
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

    /// Moves staged files to their places; the paths of those that are nowhere.
    async fn place_files(&self, manifest: &Manifest) -> Result<Vec<String>, LoadError> {
        let moves = manifest.files.iter().map(async |file| {
            let Some(staged) = file.staged_path() else {
                return Ok(None);
            };
            let placed = self.place_file(staged, file).await?;
            Ok((!placed).then(|| file.path.clone()))
        });
        let missing = all(moves.collect()).await?;
        Ok(missing.into_iter().flatten().collect())
    }

    async fn place_file(&self, staged: &str, file: &DataFile) -> Result<bool, LoadError> {
        if self.has_file(&file.path, file.bytes).await? {
            return Ok(true);
        }
        let (from, to) = (Path::from(staged), Path::from(file.path.as_str()));
        // The name is never used for other bytes, so it does no harm to move over one that came there meanwhile.
        let Err(error) = self.store.object_store().rename(&from, &to).await else {
            return Ok(true);
        };
        if self.has_file(&file.path, file.bytes).await? {
            return Ok(true);
        }
        if self.has_file(staged, file.bytes).await? {
            return Err(LoadError::store("publish", &to)(error));
        }
        // Another may have moved it between the two looks.
        self.has_file(&file.path, file.bytes).await
    }

    async fn delete_all(&self, paths: impl Iterator<Item = &str>) -> Result<(), LoadError> {
        let deletes = paths.map(async |path| self.store.delete(&Path::from(path)).await);
        all(deletes.collect()).await.map(drop)
    }

    /// Takes back what was published late: whoever published the next revision may have deleted our files before we
    /// brought them back.
    async fn withdraw(&self, key: &PartitionKey, manifest: &Manifest) -> Result<(), LoadError> {
        let Some(newest) = self.state(key).await? else {
            return Ok(());
        };
        let kept = |path: &str| newest.manifest.files.iter().any(|file| file.path == path);
        let ours = manifest.files.iter().map(|file| file.path.as_str());
        self.delete_all(ours.filter(|path| !kept(path))).await
    }
}
