//! A store that counts what it is asked for, stops one caller at a chosen operation, and moves its clock.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::sync::Semaphore;

/// The clock of a store: what was written before it jumped is older than it says.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Vec<(DateTime<Utc>, TimeDelta)>>);

impl Clock {
    pub(crate) fn jump(&self, hours: i64) {
        let jump = (Utc::now(), TimeDelta::hours(hours));
        self.0.lock().unwrap().push(jump);
    }

    fn aged(&self, mut object: ObjectMeta) -> ObjectMeta {
        let written = object.last_modified;
        for (at, by) in self.0.lock().unwrap().iter() {
            if written < *at {
                object.last_modified -= *by;
            }
        }
        object
    }
}

/// Where a caller is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Before the operation with this number, from 1, takes effect.
    Before(u64),
    /// After it took effect, and before its caller knows.
    After(u64),
}

#[derive(Debug)]
pub(crate) struct WatchedStore {
    inner: Arc<dyn ObjectStore>,
    clock: Arc<Clock>,
    stop: Option<Stop>,
    /// Whether a rename is a copy and a deletion, as on S3.
    renames_in_steps: bool,
    operations: AtomicU64,
    log: Mutex<Vec<(&'static str, String)>>,
    pub(crate) stopped: Semaphore,
    pub(crate) go_on: Semaphore,
}

impl WatchedStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            clock: Arc::default(),
            stop: None,
            renames_in_steps: true,
            operations: AtomicU64::new(0),
            log: Mutex::default(),
            stopped: Semaphore::new(0),
            go_on: Semaphore::new(0),
        }
    }

    pub(crate) fn with_clock(self, clock: &Arc<Clock>) -> Self {
        let clock = Arc::clone(clock);
        Self { clock, ..self }
    }

    pub(crate) fn with_atomic_renames(self) -> Self {
        Self {
            renames_in_steps: false,
            ..self
        }
    }

    pub(crate) fn stopping(self, stop: Stop) -> Self {
        let stop = Some(stop);
        Self { stop, ..self }
    }

    /// How many operations of this name were asked for so far, of paths that contain `part`.
    pub(crate) fn count(&self, operation: &str, part: &str) -> usize {
        let log = self.log.lock().unwrap();
        let counted = log.iter();
        counted
            .filter(|(name, path)| *name == operation && path.contains(part))
            .count()
    }

    /// Forgets what was counted.
    pub(crate) fn reset(&self) {
        self.log.lock().unwrap().clear();
    }

    /// What was asked for, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter()
            .map(|(name, path)| format!("{name} {path}"))
            .collect()
    }

    fn note(&self, name: &'static str, path: impl fmt::Display) -> u64 {
        self.log.lock().unwrap().push((name, path.to_string()));
        self.operations.fetch_add(1, SeqCst) + 1
    }

    async fn wait_if(&self, stop: Stop) {
        if self.stop == Some(stop) {
            self.stopped.add_permits(1);
            self.go_on.acquire().await.unwrap().forget();
        }
    }

    async fn operate<T>(
        &self,
        name: &'static str,
        path: &Path,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let number = self.note(name, path);
        self.wait_if(Stop::Before(number)).await;
        let done = work.await;
        self.wait_if(Stop::After(number)).await;
        done
    }
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("watched")
    }
}

/// Shared, so that streams may wait as well.
#[derive(Debug, Clone)]
pub(crate) struct Watched(pub(crate) Arc<WatchedStore>);

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let put = self.0.inner.put_opts(to, payload, options);
        self.0.operate("put", to, put).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let put = self.0.inner.put_multipart_opts(to, options);
        self.0.operate("upload", to, put).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let name = if options.head { "head" } else { "get" };
        let got = self.0.inner.get_opts(from, options);
        let mut got = self.0.operate(name, from, got).await?;
        got.meta = self.0.clock.aged(got.meta);
        Ok(got)
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = Arc::clone(&self.0);
        let deleted = paths.then(move |path| {
            let store = Arc::clone(&store);
            async move {
                let path = path?;
                let one = futures::stream::once(futures::future::ok(path.clone())).boxed();
                let mut deletion = store.inner.delete_stream(one);
                let delete = async { deletion.next().await.unwrap() };
                store.operate("delete", &path, delete).await
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let listed = self.0.inner.list_with_delimiter(prefix);
        self.0.operate("list", &folder, listed).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.0.inner.copy_opts(from, to, options);
        self.0.operate("copy", to, copied).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        if self.0.renames_in_steps {
            self.copy_opts(from, to, CopyOptions::default()).await?;
            return object_store::ObjectStoreExt::delete(self, from).await;
        }
        let renamed = self.0.inner.rename_opts(from, to, options);
        self.0.operate("rename", to, renamed).await
    }
}

impl Watched {
    /// A listing is one operation, whole at one moment.
    fn listed(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = Arc::clone(&self.0);
        let (prefix, offset) = (prefix.cloned(), offset.cloned());
        let listed = async move {
            let folder = prefix.clone().unwrap_or_default();
            let listing = match &offset {
                Some(offset) => store.inner.list_with_offset(prefix.as_ref(), offset),
                None => store.inner.list(prefix.as_ref()),
            };
            let all = async { Ok(listing.collect::<Vec<_>>().await) };
            let listed = store.operate("list", &folder, all).await;
            let objects = listed.unwrap_or_default().into_iter();
            let aged: Vec<Result<ObjectMeta>> = objects
                .map(|object| object.map(|object| store.clock.aged(object)))
                .collect();
            futures::stream::iter(aged)
        };
        futures::stream::once(listed).flatten().boxed()
    }
}
