//! A store that has no room, lets nobody write, or is gone, from any operation of a commit on: nothing is half-visible
//! to who takes the files that a revision lists, and a rerun completes.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use answerlake_load::{CommitOutcome, Lake, LakeStore, LoadError, Recovered};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

use crate::setup::{check_consistent, key, paths, proposal};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Nothing new can be written; what is there can be read, moved and deleted.
    Full,
    /// Nothing can be changed.
    ReadOnly,
    /// Nothing can be done.
    Gone,
}

/// A store that goes wrong after so many operations.
#[derive(Debug)]
struct WrongStore {
    inner: Arc<dyn ObjectStore>,
    wrong: Wrong,
    left: AtomicI64,
}

/// What an operation needs.
#[derive(PartialEq, Eq)]
enum Needs {
    Room,
    Leave,
    Nothing,
}

impl WrongStore {
    fn operate(&self, needs: &Needs) -> Result<()> {
        let is_wrong = self.left.fetch_sub(1, SeqCst) <= 0;
        let kind = match self.wrong {
            Wrong::Full if *needs == Needs::Room => io::ErrorKind::StorageFull,
            Wrong::ReadOnly if *needs != Needs::Nothing => io::ErrorKind::ReadOnlyFilesystem,
            Wrong::Gone => io::ErrorKind::ConnectionRefused,
            _ => return Ok(()),
        };
        match is_wrong {
            false => Ok(()),
            true => Err(Error::Generic {
                store: "wrong",
                source: io::Error::from(kind).into(),
            }),
        }
    }
}

impl fmt::Display for WrongStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("wrong")
    }
}

#[async_trait]
impl ObjectStore for WrongStore {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.operate(&Needs::Room)?;
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.operate(&Needs::Room)?;
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.operate(&Needs::Nothing)?;
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.operate(&Needs::Leave) {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.operate(&Needs::Nothing) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.operate(&Needs::Nothing)?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.operate(&Needs::Room)?;
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.operate(&Needs::Leave)?;
        self.inner.rename_opts(from, to, options).await
    }
}

fn lake(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::new(LakeStore::from_object_store("test://", store))
}

/// Replaces a partition on a store that goes wrong after `left` operations; says what came of it.
async fn replace(
    disk: &Arc<dyn ObjectStore>,
    wrong: Wrong,
    left: i64,
) -> std::result::Result<CommitOutcome, LoadError> {
    let scratch = tempfile::tempdir().unwrap();
    let healthy = lake(Arc::clone(disk));
    let first = proposal(scratch.path(), "run-1", 5);
    healthy.commit(first).await.unwrap();
    let store = WrongStore {
        inner: Arc::clone(disk),
        wrong,
        left: left.into(),
    };
    let second = proposal(scratch.path(), "run-2", 6);
    lake(Arc::new(store)).commit(second).await
}

async fn goes_wrong_anywhere(make: impl Fn() -> Arc<dyn ObjectStore>, wrong: Wrong) {
    let scratch = tempfile::tempdir().unwrap();
    let (mut before, mut after) = (0, 0);
    for left in 0.. {
        let disk = make();
        let outcome = replace(&disk, wrong, left).await;
        let healthy = lake(Arc::clone(&disk));
        let state = healthy.state(&key()).await.unwrap().unwrap();
        assert!(!state.is_broken(), "{wrong:?} after {left}");
        let is_committed = state.revision == 2;
        match &outcome {
            // What a store refuses is not asked for again and again.
            Err(error @ (LoadError::Store { .. } | LoadError::Undecided { .. })) => {
                assert_eq!(
                    error.is_not_allowed(),
                    wrong == Wrong::ReadOnly,
                    "{error:?}"
                );
                assert_eq!(error.is_retryable(), wrong != Wrong::ReadOnly, "{error:?}");
                let is_unknown = matches!(error, LoadError::Undecided { .. });
                assert!(!is_unknown || wrong == Wrong::Gone, "{error:?}");
            }
            Err(error) => panic!("{error:?}"),
            Ok(_) => {}
        }
        // One revision can be read whole, whatever is beside it.
        let heads = healthy.heads(None, None).await.unwrap();
        let current = healthy
            .current_files(heads.into_iter().collect())
            .await
            .unwrap();
        let readable = current[0].readable.as_ref().unwrap();
        assert!(readable.revision == 1 || is_committed);
        for file in &readable.files {
            let path = Path::from(file.path.as_str());
            let found = object_store::ObjectStoreExt::head(&disk, &path)
                .await
                .unwrap();
            assert_eq!(found.size, file.bytes);
        }
        // Room that was taken for nothing is given back, where that can be done.
        let staged = paths(&healthy, "_answerlake/staging/run-2").await;
        assert!(
            is_committed || staged.is_empty() || wrong != Wrong::Full,
            "after {left}: {staged:?}"
        );

        let recovered = healthy.recover(None).await.unwrap();
        let is_forward =
            |one: &Recovered| matches!(one, Recovered::RolledForward { revision: 2, .. });
        assert!(recovered.iter().all(is_forward));
        let again = healthy.commit(proposal(scratch.path(), "run-3", 6)).await;
        again.unwrap();
        healthy
            .clear_staging(std::time::Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(check_consistent(&healthy).await, 2);
        if outcome.is_ok() {
            break;
        }
        before += u64::from(!is_committed);
        after += u64::from(is_committed);
    }
    assert!(before > 0, "{wrong:?}");
    assert!(after > 0, "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn it_goes_wrong_anywhere_in_memory() {
    for wrong in [Wrong::Full, Wrong::ReadOnly, Wrong::Gone] {
        goes_wrong_anywhere(|| Arc::new(InMemory::new()), wrong).await;
    }
}

#[tokio::test]
async fn it_goes_wrong_anywhere_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = || -> Arc<dyn ObjectStore> {
        number.set(number.get() + 1);
        let root = folder.path().join(number.get().to_string());
        std::fs::create_dir(&root).unwrap();
        Arc::new(LocalFileSystem::new_with_prefix(root).unwrap())
    };
    for wrong in [Wrong::Full, Wrong::ReadOnly] {
        goes_wrong_anywhere(make, wrong).await;
    }
}
