//! Brings scratch files into the store, whole or not at all, and never held in memory.

use std::io::ErrorKind;
use std::path::Path as FilePath;

use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::LoadError;
use crate::location;
use crate::store::{LakeStore, run_blocking};

/// Bytes of a scratch file that are read at once, and of one part of an upload: 10,000 parts, the most that S3 takes,
/// are 80 GB.
const UPLOAD_PART_BYTES: usize = 8 << 20;

/// Parts of one file that are on their way at once: one is sent while the next is read.
const PARTS_AT_ONCE: usize = 2;

/// Files that are on their way at once, of all commits together. A file takes up to 32 MiB while it is: the part that is
/// read, the one that is filled, and those that are sent.
pub(crate) const UPLOADS_AT_ONCE: usize = 2;

/// How often a scratch file is linked while others take its new folder away.
const LINK_TRIES: u32 = 8;

impl LakeStore {
    /// Makes the scratch file the object at `path`; `action` is what messages call that. The name of a local lake's
    /// file is durable only after [`LakeStore::sync_folders`].
    pub(crate) async fn bring(
        &self,
        action: &'static str,
        scratch: &FilePath,
        path: &Path,
    ) -> Result<(), LoadError> {
        match self.local_root() {
            Some(root) if link(scratch, &root.join(path.as_ref())).await => Ok(()),
            _ => self.upload(action, scratch, path).await,
        }
    }

    pub(crate) async fn upload(
        &self,
        action: &'static str,
        scratch: &FilePath,
        path: &Path,
    ) -> Result<(), LoadError> {
        let _turn = self
            .uploads
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let unreadable = |source| LoadError::scratch("read", scratch)(source);
        let mut file = tokio::fs::File::open(scratch).await.map_err(unreadable)?;
        let mut upload =
            BufWriter::with_capacity(self.object_store(), path.clone(), UPLOAD_PART_BYTES)
                .with_max_concurrency(PARTS_AT_ONCE);
        loop {
            let mut part = Vec::with_capacity(UPLOAD_PART_BYTES);
            let mut limited = (&mut file).take(UPLOAD_PART_BYTES as u64);
            let read = limited.read_to_end(&mut part).await.map_err(unreadable)?;
            if read == 0 {
                break;
            }
            if let Err(source) = upload.put(part.into()).await {
                // What was uploaded of it is invisible; that it cannot be withdrawn as well is no further error.
                let _ = upload.abort().await;
                return Err(LoadError::store(action, path)(source));
            }
        }
        upload.shutdown().await.map_err(|error| {
            let source = error
                .downcast()
                .unwrap_or_else(|error| object_store::Error::Generic {
                    store: "upload",
                    source: error.into(),
                });
            LoadError::store(action, path)(source)
        })
    }

    /// Makes new names in folders of a local lake durable.
    pub(crate) async fn sync_folders(
        &self,
        files: impl IntoIterator<Item = &Path>,
    ) -> Result<(), LoadError> {
        let Some(root) = self.local_root().cloned() else {
            return Ok(());
        };
        let folders = location::folders_of(files);
        run_blocking(move || {
            for folder in folders.iter().chain([&Path::default()]) {
                let synced = match std::fs::File::open(root.join(folder.as_ref())) {
                    // A folder that has gone has no names.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    opened => opened.and_then(|file| file.sync_all()),
                };
                synced.map_err(|error| {
                    LoadError::store("sync the folder", folder)(object_store::Error::Generic {
                        store: "LocalFileSystem",
                        source: error.into(),
                    })
                })?;
            }
            Ok(())
        })
        .await
    }
}

/// Gives a scratch file of a local lake a second name there, synced: no byte is copied. Where that cannot be done
/// (another file system, one without links, a name that is taken), it says no, and the file is uploaded like to any
/// other store.
async fn link(scratch: &FilePath, path: &FilePath) -> bool {
    let (scratch, path) = (scratch.to_owned(), path.to_owned());
    let link = move || {
        let file = std::fs::File::open(&scratch)?;
        // In the lake its age counts from now on, however long it lay in scratch.
        file.set_modified(std::time::SystemTime::now())?;
        file.sync_all()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            match folder.and_then(|()| std::fs::hard_link(&scratch, &path)) {
                // Another commit of this run is done, and has taken the folder away while it was empty.
                Err(error) if error.kind() == ErrorKind::NotFound && tries < LINK_TRIES => {}
                linked => return linked,
            }
        }
    };
    run_blocking(link).await.is_ok()
}
