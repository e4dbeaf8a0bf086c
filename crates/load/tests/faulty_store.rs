//! A store that fails as told: dead after so many operations, or lying about creates.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    /// Operations until it is dead.
    pub(crate) operations_left: AtomicI64,
    /// Whether it is well again after the one that fails.
    pub(crate) fails_once: bool,
    /// Creates of manifests that take place but are reported as failed.
    pub(crate) silent_creates: AtomicI64,
    /// Creates of manifests that are reported as failed and do not take place.
    pub(crate) lost_creates: AtomicI64,
    /// Whether it is dead once a manifest was created.
    pub(crate) dies_after_create: bool,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            operations_left: AtomicI64::new(i64::MAX),
            fails_once: false,
            silent_creates: AtomicI64::new(0),
            lost_creates: AtomicI64::new(0),
            dies_after_create: false,
        }
    }

    fn operate(&self) -> Result<()> {
        let left = self.operations_left.fetch_sub(1, SeqCst);
        if left > 0 || (self.fails_once && left < 0) {
            Ok(())
        } else {
            Err(broken())
        }
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "faulty",
        source: "as told".into(),
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.operate()?;
        let is_commit = matches!(options.mode, PutMode::Create)
            && to.as_ref().starts_with("_answerlake/commits/")
            && to.as_ref().ends_with(".json");
        if !is_commit {
            return self.inner.put_opts(to, payload, options).await;
        }
        if self.lost_creates.fetch_sub(1, SeqCst) > 0 {
            return Err(broken());
        }
        let created = self.inner.put_opts(to, payload, options).await?;
        if self.dies_after_create {
            self.operations_left.store(0, SeqCst);
        }
        if self.silent_creates.fetch_sub(1, SeqCst) > 0 {
            return Err(broken());
        }
        Ok(created)
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.operate()?;
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.operate()?;
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.operate() {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.operate() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.operate()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.operate()?;
        self.inner.copy_opts(from, to, options).await
    }

    /// As two steps, like on S3, so that a crash can come between them.
    async fn rename_opts(&self, from: &Path, to: &Path, _: RenameOptions) -> Result<()> {
        self.copy_opts(from, to, CopyOptions::default()).await?;
        object_store::ObjectStoreExt::delete(self, from).await
    }
}
