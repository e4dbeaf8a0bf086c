//! A store that goes wrong once, at a chosen operation, and is watched at every other.

use std::cmp::Ordering;
use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result, UploadPart,
};
use tokio::sync::Notify;

use crate::watch::assert_whole;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The operation fails and has no effect; those after it work.
    Fails,
    /// The operation takes effect and is said to have failed; those after it work.
    FailsAfter,
    /// The same two, and nothing works from then on.
    Dies,
    DiesAfter,
    /// The operation never ends.
    Hangs,
}

impl Crash {
    pub(crate) const ALL: [Self; 5] = [
        Self::Fails,
        Self::FailsAfter,
        Self::Dies,
        Self::DiesAfter,
        Self::Hangs,
    ];
}

/// How a rename is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rename {
    /// By the store, at once.
    AtOnce,
    /// As a copy and a delete, like on S3, so that a crash can come between them.
    InTwoSteps,
}

/// The store. Cloning it is cheap, the clones share what they count.
#[derive(Debug, Clone)]
pub(crate) struct CrashingStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn ObjectStore>,
    rename: Rename,
    /// What goes wrong, at which operation.
    crash: Option<(u64, Crash)>,
    operations: AtomicU64,
    /// Held during an operation, and while it is looked at what that left.
    turn: tokio::sync::Mutex<()>,
    /// Told when an operation begins that never ends.
    hangs: Notify,
    /// What was wrong with the lake at some moment.
    broken: Mutex<Option<String>>,
}

impl CrashingStore {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        rename: Rename,
        crash: Option<(u64, Crash)>,
    ) -> Self {
        Self(Arc::new(Shared {
            inner,
            rename,
            crash,
            operations: AtomicU64::new(0),
            turn: tokio::sync::Mutex::new(()),
            hangs: Notify::new(),
            broken: Mutex::new(None),
        }))
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.0.operations.load(SeqCst)
    }

    /// Awaits an operation that never ends.
    pub(crate) async fn hangs(&self) {
        self.0.hangs.notified().await;
    }

    /// Fails the test if the lake was ever not whole.
    #[track_caller]
    pub(crate) fn assert_was_whole(&self) {
        if let Some(broken) = &*self.0.broken.lock().unwrap() {
            panic!("{:?}: {broken}", self.0.crash);
        }
    }
}

impl Shared {
    async fn operate<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let turn = self.turn.lock().await;
        let number = self.operations.fetch_add(1, SeqCst);
        let crash = self.crash.map(|(at, crash)| (number.cmp(&at), crash));
        match crash {
            Some(
                (Ordering::Equal, Crash::Fails | Crash::Dies)
                | (Ordering::Greater, Crash::Dies | Crash::DiesAfter),
            ) => Err(as_told()),
            Some((Ordering::Equal, Crash::Hangs)) => {
                drop(turn);
                self.hangs.notify_one();
                pending().await
            }
            Some((Ordering::Equal, Crash::FailsAfter | Crash::DiesAfter)) => {
                let _ = work.await;
                self.look(what).await;
                Err(as_told())
            }
            _ => {
                let done = work.await;
                self.look(what).await;
                done
            }
        }
    }

    async fn look(&self, what: &str) {
        if let Err(broken) = assert_whole(&*self.inner).await {
            let mut known = self.broken.lock().unwrap();
            known.get_or_insert(format!("after {what}: {broken}"));
        }
    }
}

fn as_told() -> Error {
    Error::Generic {
        store: "crashing",
        source: "as told".into(),
    }
}

impl fmt::Display for CrashingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("crashing")
    }
}

#[async_trait]
impl ObjectStore for CrashingStore {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let work = self.0.inner.put_opts(to, payload, options);
        self.0.operate(&format!("put {to}"), work).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let work = self.0.inner.put_multipart_opts(to, options);
        let upload = self.0.operate(&format!("begin {to}"), work).await?;
        Ok(Box::new(CrashingUpload {
            upload,
            store: Arc::clone(&self.0),
        }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let work = self.0.inner.get_opts(from, options);
        self.0.operate(&format!("get {from}"), work).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths
            .and_then(move |path| {
                let store = store.clone();
                async move {
                    let inner = Arc::clone(&store.0.inner);
                    let work = inner.delete(&path);
                    store.0.operate(&format!("delete {path}"), work).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.0.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.0.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let work = self.0.inner.list_with_delimiter(prefix);
        self.0.operate("list", work).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let work = self.0.inner.copy_opts(from, to, options);
        self.0.operate(&format!("copy to {to}"), work).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        if self.0.rename == Rename::InTwoSteps {
            self.copy_opts(from, to, CopyOptions::default()).await?;
            return self.delete(from).await;
        }
        let work = self.0.inner.rename_opts(from, to, options);
        self.0.operate(&format!("rename to {to}"), work).await
    }
}

impl CrashingStore {
    fn listing(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = Arc::clone(&self.0);
        let all = async move {
            let work = listing.try_collect::<Vec<_>>();
            let listed = store.operate("list", work).await?;
            Ok::<_, Error>(futures::stream::iter(listed).map(Ok))
        };
        all.into_stream().try_flatten().boxed()
    }
}

#[derive(Debug)]
struct CrashingUpload {
    upload: Box<dyn MultipartUpload>,
    store: Arc<Shared>,
}

#[async_trait]
impl MultipartUpload for CrashingUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (store, work) = (Arc::clone(&self.store), self.upload.put_part(part));
        async move { store.operate("put a part", work).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let work = self.upload.complete();
        self.store.operate("complete", work).await
    }

    async fn abort(&mut self) -> Result<()> {
        let work = self.upload.abort();
        self.store.operate("abort", work).await
    }
}
