//! One object of any store, written as it comes, and there whole or not at all.
//!
//! Who writes stands on a thread of its own and may be faster than the store: two parts wait and two are on their way,
//! then it waits. The object appears with the last step and not before; what was sent until a failure is withdrawn.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::address::LakeAddress;
use crate::error::LoadError;
use crate::store::LakeStore;

/// Bytes of the first parts.
const PART_BYTES: usize = 8 << 20;

/// After so many parts, they are twice as large. S3 takes 10,000 of them, which makes some 500 GB.
const PARTS_OF_A_SIZE: usize = 2_000;

/// Parts that are on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// Parts that wait.
const PARTS_WAITING: usize = 1;

/// Where the bytes of an object are written to, on a thread that may block. Flushing it ends it.
#[derive(Debug)]
pub struct ObjectWriter {
    part: Vec<u8>,
    sent: usize,
    parts: Option<mpsc::Sender<Bytes>>,
}

/// An object on its way; dropped before it is finished, it comes to nothing.
#[derive(Debug)]
pub struct ObjectUpload {
    url: String,
    /// Says that all was written.
    finish: oneshot::Sender<()>,
    task: JoinHandle<object_store::Result<()>>,
}

impl ObjectUpload {
    /// Begins the object at an address, in a store that is opened as a lake's is.
    ///
    /// # Errors
    /// When the address names no object, or the store cannot be opened.
    pub async fn begin(address: impl Into<LakeAddress>) -> Result<(ObjectWriter, Self), LoadError> {
        let address = address.into();
        let url: &str = &address;
        let (folder, name) = url.rsplit_once('/').unwrap_or_default();
        let in_a_bucket = folder
            .split_once("://")
            .is_some_and(|(scheme, bucket)| scheme != "memory" && !bucket.is_empty());
        if name.is_empty() || !in_a_bucket {
            return Err(LoadError::InvalidObject {
                url: url.to_owned(),
                reason: "expected a bucket and the name of an object, such as `s3://bucket/records.ndjson`",
            });
        }
        let store = LakeStore::open(address.beside(folder)).await?;
        Ok(Self::begin_in(url, store.object_store(), Path::from(name)))
    }

    fn begin_in(url: &str, store: Arc<dyn ObjectStore>, path: Path) -> (ObjectWriter, Self) {
        let (parts, received) = mpsc::channel(PARTS_WAITING);
        let (finish, finished) = oneshot::channel();
        let writer = ObjectWriter {
            part: Vec::new(),
            sent: 0,
            parts: Some(parts),
        };
        let upload = Self {
            url: url.to_owned(),
            finish,
            task: tokio::spawn(upload(store, path, received, finished)),
        };
        (writer, upload)
    }

    /// Makes the object of what was written, once the writer was flushed.
    ///
    /// # Errors
    /// When the store fails; there is no object then.
    pub async fn finish(self) -> Result<(), LoadError> {
        // Where nobody hears it, the upload has failed, and says so.
        let _ = self.finish.send(());
        ended(self.url, self.task).await
    }

    /// Withdraws what was written. An error is that of the upload, if it had failed before.
    ///
    /// # Errors
    /// When the store fails, or failed before.
    pub async fn abort(self) -> Result<(), LoadError> {
        drop(self.finish);
        ended(self.url, self.task).await
    }
}

async fn ended(url: String, task: JoinHandle<object_store::Result<()>>) -> Result<(), LoadError> {
    let outcome = task.await.unwrap_or_else(|error| {
        Err(object_store::Error::Generic {
            store: "upload",
            source: error.into(),
        })
    });
    outcome.map_err(|source| LoadError::Object { url, source })
}

impl Write for ObjectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part_bytes = PART_BYTES << (self.sent / PARTS_OF_A_SIZE).min(4);
        if self.part.capacity() == 0 {
            self.part.reserve_exact(part_bytes);
        }
        let taken = bytes.len().min(part_bytes - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == part_bytes {
            self.send()?;
        }
        Ok(taken)
    }

    /// Ends it: a part may be small only if it is the last.
    fn flush(&mut self) -> io::Result<()> {
        if !self.part.is_empty() {
            self.send()?;
        }
        self.parts = None;
        Ok(())
    }
}

impl ObjectWriter {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        let gone = || io::Error::other("the upload has come to an end");
        let parts = self.parts.as_ref().ok_or_else(gone)?;
        self.sent += 1;
        parts.blocking_send(part.into()).map_err(|_| gone())
    }
}

/// Sends parts as they come; completes the object if all is said to have come, else withdraws it.
async fn upload(
    store: Arc<dyn ObjectStore>,
    path: Path,
    mut parts: mpsc::Receiver<Bytes>,
    finished: oneshot::Receiver<()>,
) -> object_store::Result<()> {
    let first = parts.recv().await.unwrap_or_default();
    let Some(second) = parts.recv().await else {
        // So little is sent at once.
        if finished.await.is_ok() {
            store.put(&path, first.into()).await?;
        }
        return Ok(());
    };
    let mut upload = store.put_multipart(&path).await?;
    let sent = send_parts(&mut *upload, [first, second], parts).await;
    if sent.is_ok() && finished.await.is_ok() {
        match upload.complete().await {
            Ok(_) => return Ok(()),
            Err(error) => {
                // It is invisible; that it cannot be withdrawn as well is no further error.
                let _ = upload.abort().await;
                return Err(error);
            }
        }
    }
    let aborted = upload.abort().await;
    sent.and(aborted)
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    first: [Bytes; 2],
    mut parts: mpsc::Receiver<Bytes>,
) -> object_store::Result<()> {
    let mut on_their_way = FuturesUnordered::new();
    for part in first {
        on_their_way.push(upload.put_part(part.into()));
    }
    loop {
        tokio::select! {
            part = parts.recv(), if on_their_way.len() < PARTS_AT_ONCE => match part {
                Some(part) => on_their_way.push(upload.put_part(part.into())),
                None => break,
            },
            Some(sent) = on_their_way.next() => sent?,
        }
    }
    while let Some(sent) = on_their_way.next().await {
        sent?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;

    use super::*;

    fn stores() -> (tempfile::TempDir, Vec<Arc<dyn ObjectStore>>) {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        (folder, vec![Arc::new(InMemory::new()), Arc::new(local)])
    }

    /// Writes so many bytes from a thread that may block, as restoring does; flushes where all is written.
    async fn write(mut writer: ObjectWriter, bytes: usize, is_whole: bool) -> Vec<u8> {
        let mut content = b"every part differs from its neighbours ".repeat(bytes / 39 + 1);
        content.truncate(bytes);
        let written = content.clone();
        let writing = tokio::task::spawn_blocking(move || {
            for block in content.chunks(300_000) {
                writer.write_all(block)?;
            }
            if is_whole { writer.flush() } else { Ok(()) }
        });
        writing.await.unwrap().unwrap();
        written
    }

    #[tokio::test]
    async fn an_object_is_what_was_written_or_is_not_there() {
        let (_folder, stores) = stores();
        for store in stores {
            for bytes in [0, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7] {
                let path = Path::from(format!("deep/{bytes}.ndjson"));
                let begin = || ObjectUpload::begin_in("s3://b/o", Arc::clone(&store), path.clone());
                // Neither a writer that is dropped in the middle nor one that was flushed makes an object by itself.
                for is_whole in [false, true] {
                    let (writer, upload) = begin();
                    write(writer, bytes, is_whole).await;
                    upload.abort().await.unwrap();
                    let (writer, upload) = begin();
                    let (running, _) =
                        tokio::join!(async { write(writer, bytes, is_whole).await }, async {
                            drop(upload);
                        });
                    assert_eq!(running.len(), bytes);
                    let found = store.head(&path).await;
                    assert!(
                        matches!(found, Err(object_store::Error::NotFound { .. })),
                        "{bytes}"
                    );
                }
                let (writer, upload) = begin();
                let written = write(writer, bytes, true).await;
                upload.finish().await.unwrap();
                let read = store.get(&path).await.unwrap().bytes().await.unwrap();
                assert!(read == written, "{bytes}");
            }
            let left: Vec<_> = store
                .list(None)
                .map(|found| found.unwrap().location)
                .collect()
                .await;
            assert_eq!(left.len(), 4, "{left:?}");
        }
    }

    #[tokio::test]
    async fn what_the_store_says_comes_out_and_who_writes_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        // There is a file where the object needs a folder.
        std::fs::write(folder.path().join("file"), "").unwrap();
        let path = Path::from("file/object");
        let (mut writer, upload) = ObjectUpload::begin_in("s3://b/o", Arc::new(local), path);
        let writing = tokio::task::spawn_blocking(move || {
            let block = vec![7; PART_BYTES];
            (0..100).find_map(|_| writer.write_all(&block).err())
        });
        let told = writing.await.unwrap().expect("it ends");
        assert_eq!(told.to_string(), "the upload has come to an end");
        let error = upload.abort().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot write `s3://b/o`");
    }

    #[tokio::test]
    async fn an_address_that_names_no_object_is_refused() {
        for url in [
            "s3://bucket",
            "s3://bucket/",
            "s3:///x",
            "memory://a/b",
            "x",
        ] {
            let error = ObjectUpload::begin(url).await.unwrap_err();
            assert!(
                matches!(error, LoadError::InvalidObject { .. }),
                "{url}: {error}"
            );
        }
    }
}
