//! Files of records beside the tables, looked through and written anew.
//!
//! Their names are made of their content, so one is never written over: what takes its place comes first, then it goes.
//! Who is killed between the two leaves both, and does it again.

use std::fs::File;
use std::path::Path as FilePath;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;

use crate::error::LoadError;
use crate::lake::{KeptKind, Lake};
use crate::location;
use crate::store::run_blocking;

impl Lake {
    /// All files of records that are kept beside the tables, in the order of their paths.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn kept_files(&self, kind: KeptKind) -> Result<Vec<Path>, LoadError> {
        let folder = match kind {
            KeptKind::Strays => location::all_strays(),
            KeptKind::DeadLetters => location::all_dead_letters(),
        };
        let mut paths = self.store.list_paths(&folder, None).await?;
        paths.sort();
        Ok(paths)
    }

    /// All that is kept of what was fetched, as it came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn landed_files(&self) -> Result<Vec<Path>, LoadError> {
        let mut paths = self.store.list_paths(&location::all_raw(), None).await?;
        paths.sort();
        Ok(paths)
    }

    /// Reads a small object; `None` where there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn read_kept(&self, path: &Path) -> Result<Option<Bytes>, LoadError> {
        self.store.read(path).await
    }

    /// Writes a small object, in place of the one there.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_kept(&self, path: &Path, content: Bytes) -> Result<(), LoadError> {
        self.store.overwrite(path, content).await
    }

    /// Makes a finished scratch file the object at `path`.
    ///
    /// # Errors
    /// When the store cannot be written; repeating it is harmless.
    pub async fn bring_kept(&self, path: &Path, scratch: &FilePath) -> Result<(), LoadError> {
        self.store.bring("write", scratch, path).await?;
        self.store.sync_folders([path]).await
    }

    /// Copies an object to a file in the folder `scratch`, which has no name and stands at its start; `None` where the
    /// object is gone.
    ///
    /// # Errors
    /// When the store cannot be read, or scratch not be written.
    pub async fn fetch(&self, path: &Path, scratch: &FilePath) -> Result<Option<File>, LoadError> {
        // Of one that was deleted while it was read, the store says the one or the other.
        use object_store::Error::{NotFound, Precondition};
        let unwritable = |source| LoadError::scratch("write", scratch)(source);
        let folder = scratch.to_owned();
        let file = run_blocking(move || tempfile::tempfile_in(folder)).await;
        let mut copy = tokio::fs::File::from_std(file.map_err(unwritable)?);
        let failed = LoadError::store("read", path);
        let mut stream = match self.store.object_store().get(path).await {
            Ok(found) => found.into_stream(),
            Err(NotFound { .. } | Precondition { .. }) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        loop {
            match stream.try_next().await {
                Ok(Some(block)) => copy.write_all(&block).await.map_err(unwritable)?,
                Ok(None) => break,
                Err(NotFound { .. } | Precondition { .. }) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        copy.flush().await.map_err(unwritable)?;
        let mut file = copy.into_std().await;
        std::io::Seek::rewind(&mut file).map_err(unwritable)?;
        Ok(Some(file))
    }

    /// Puts a finished scratch file beside the object at `path` under a new name, and deletes that; without one, deletes
    /// it.
    ///
    /// # Errors
    /// When the store cannot be written; repeating it is harmless.
    pub async fn replace_kept(
        &self,
        path: &Path,
        replacement: Option<(&FilePath, &str)>,
    ) -> Result<(), LoadError> {
        if let Some((scratch, name)) = replacement {
            let folder = path.parent().unwrap_or_default();
            let place = folder.join(name);
            if place == *path {
                return Ok(());
            }
            self.bring_kept(&place, scratch).await?;
        }
        self.store.delete(path).await
    }
}
