//! Opens the object store that a lake lives in, and the few operations that the rest of the crate needs of it.
//!
//! They are the ones that local disk, memory and S3 share; the only condition among them is "create if absent".

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode};
use tokio::sync::Semaphore;
use url::Url;

use crate::address::LakeAddress;
use crate::error::{LoadError, is_refusal};
use crate::local_listing;
use crate::upload::UPLOADS_AT_ONCE;

/// Objects read, written or published at once. Bounds the memory and the connections they take.
const CONCURRENCY: usize = 8;

/// How often an object is created that is not there afterwards.
const ENSURE_TRIES: u32 = 3;

/// Small objects read at once, many of them from far away.
const SMALL_READS: usize = 64;

/// An opened lake's store. Cloning it is cheap, the clones share the store.
#[derive(Debug, Clone)]
pub struct LakeStore {
    url: Arc<str>,
    store: Arc<dyn ObjectStore>,
    /// Where a local lake's root is: there, scratch files are linked in place of being copied.
    local_root: Option<Arc<FilePath>>,
    /// Held by files that are on their way.
    pub(crate) uploads: Arc<Semaphore>,
}

impl LakeStore {
    /// Opens the store at `address`: a local path, `file://…`, `s3://bucket/prefix` (only with feature `s3`, and by what
    /// the address says of its access) or `memory://` (for tests, each opening is a new and empty one).
    ///
    /// A local folder is created when absent; its writes are synced to the disk. A bucket is not asked anything yet.
    ///
    /// # Errors
    /// When the address or what it takes to reach it is not understood, or the store cannot be opened.
    pub async fn open(address: impl Into<LakeAddress>) -> Result<Self, LoadError> {
        let address = address.into();
        match address.split_once("://") {
            None => open_local(&address, PathBuf::from(&*address)).await,
            Some(("file", _)) => open_local(&address, file_path(&address)?).await,
            Some(("memory", _)) => Ok(Self::from_object_store(&address, Arc::new(InMemory::new()))),
            Some(("s3" | "s3a", _)) => open_s3(&address),
            Some((scheme, _)) => Err(LoadError::InvalidUrl {
                url: address.to_string(),
                reason: format!(
                    "expected a path, `file://`, `s3://` or `memory://`, got `{scheme}://`"
                ),
            }),
        }
    }

    /// Opens the store for who only looks: nothing is created. A folder that is not there reads as an empty lake.
    ///
    /// # Errors
    /// As [`LakeStore::open`].
    pub async fn open_to_read(address: impl Into<LakeAddress>) -> Result<Self, LoadError> {
        let address = address.into();
        let Some(folder) = local_path(&address)? else {
            return Self::open(address).await;
        };
        match tokio::fs::metadata(&folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !address.is_empty() => {
                Ok(Self::from_object_store(&address, Arc::new(InMemory::new())))
            }
            _ => Self::open(address).await,
        }
    }

    /// Takes a store that was made elsewhere; `url` is what messages call it.
    pub fn from_object_store(url: &str, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            url: url.into(),
            store,
            local_root: None,
            uploads: Arc::new(Semaphore::new(UPLOADS_AT_ONCE)),
        }
    }

    /// The same place, through another store; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_object_store(self, store: Arc<dyn ObjectStore>) -> Self {
        Self { store, ..self }
    }

    /// The address it was opened by.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the lake is for a reader on another folder of this machine, or on another one: the absolute path of a local
    /// lake, and else the address it was opened by, without a `/` at its end.
    pub fn absolute_url(&self) -> String {
        let url = self.local_root.as_deref().map_or_else(
            || self.url.to_string(),
            |root| root.to_string_lossy().into_owned(),
        );
        url.trim_end_matches('/').to_owned()
    }

    /// The store itself; paths in it are relative to the lake.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The folder of a local lake.
    pub(crate) fn local_root(&self) -> Option<&Arc<FilePath>> {
        self.local_root.as_ref()
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Option<Bytes>, LoadError> {
        let found = match self.store.get(path).await {
            Ok(result) => result.bytes().await,
            Err(error) => Err(error),
        };
        absent_as_none(found).map_err(LoadError::store("read", path))
    }

    pub(crate) async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, LoadError> {
        absent_as_none(self.store.head(path).await).map_err(LoadError::store("look at", path))
    }

    /// Creates the object if there is none. Any error leaves open whether it now exists.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        self.store
            .put_opts(path, bytes.into(), PutMode::Create.into())
            .await
            .map(drop)
    }

    /// Creates the object unless there is one already, whatever it holds.
    pub(crate) async fn ensure(&self, path: &Path, bytes: Bytes) -> Result<(), LoadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Err(error) = self.create(path, bytes.clone()).await else {
                return Ok(());
            };
            if self.head(path).await?.is_some() {
                return Ok(());
            }
            // It may have lost to one that came to nothing.
            if tries == ENSURE_TRIES || is_refusal(&error) {
                return Err(LoadError::store("create", path)(error));
            }
        }
    }

    pub(crate) async fn overwrite(&self, path: &Path, bytes: Bytes) -> Result<(), LoadError> {
        let put = self.store.put(path, bytes.into()).await;
        put.map(drop).map_err(LoadError::store("write", path))
    }

    /// Deletes the object; it is no error if there is none.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), LoadError> {
        absent_as_none(self.store.delete(path).await)
            .map(drop)
            .map_err(LoadError::store("delete", path))
    }

    /// All objects below `prefix`, those after `offset` if there is one; in no certain order.
    pub(crate) async fn list(
        &self,
        prefix: &Path,
        offset: Option<&Path>,
    ) -> Result<Vec<ObjectMeta>, LoadError> {
        let listing = match offset {
            Some(offset) => self.store.list_with_offset(Some(prefix), offset),
            None => self.store.list(Some(prefix)),
        };
        absent_as_none(listing.try_collect().await)
            .map(Option::unwrap_or_default)
            .map_err(LoadError::store("list", prefix))
    }

    /// The paths of all objects below `prefix`, those after `offset` if there is one; in no certain order.
    ///
    /// On a disk, names are all that is read: to look at each file besides is what a listing otherwise takes most of
    /// its time for.
    pub(crate) async fn list_paths(
        &self,
        prefix: &Path,
        offset: Option<&Path>,
    ) -> Result<Vec<Path>, LoadError> {
        if let Some(root) = self.local_root.clone() {
            let (prefix, offset) = (prefix.clone(), offset.cloned());
            return run_blocking(move || {
                local_listing::paths_below(&root, &prefix, offset.as_ref())
            })
            .await;
        }
        let listed = self.list(prefix, offset).await?;
        Ok(listed.into_iter().map(|object| object.location).collect())
    }

    /// What lies directly in a folder: folders, and objects.
    pub(crate) async fn list_level(
        &self,
        folder: &Path,
    ) -> Result<(Vec<Path>, Vec<Path>), LoadError> {
        let listed = absent_as_none(self.store.list_with_delimiter(Some(folder)).await)
            .map_err(LoadError::store("list", folder))?;
        let Some(listed) = listed else {
            return Ok((Vec::new(), Vec::new()));
        };
        let objects = listed.objects.into_iter();
        let objects = objects.map(|object| object.location).collect();
        Ok((listed.common_prefixes, objects))
    }

    /// Reads many small objects and makes something of each, in their order; `None` for one that is not there.
    pub(crate) async fn read_each<T: Send + 'static>(
        &self,
        paths: Vec<Path>,
        make: impl Fn(&Path, &[u8]) -> Result<T, LoadError> + Send + Sync + 'static,
    ) -> Result<Vec<Option<T>>, LoadError> {
        if let Some(root) = self.local_root.clone() {
            return run_blocking(move || local_listing::read_each(&root, &paths, &make)).await;
        }
        let reads = paths.iter().map(async |path| match self.read(path).await? {
            Some(bytes) => make(path, &bytes).map(Some),
            None => Ok(None),
        });
        futures::stream::iter(reads)
            .buffered(SMALL_READS)
            .try_collect()
            .await
    }

    /// Reads all objects directly in `folder`, in the order of their names.
    pub(crate) async fn read_folder(
        &self,
        folder: &Path,
    ) -> Result<Vec<(String, Bytes)>, LoadError> {
        let listed = self.list(folder, None).await?;
        let reads = listed.into_iter().map(async |object| {
            let name = object.location.filename().unwrap_or_default().to_owned();
            Ok((name, self.read(&object.location).await?))
        });
        let read = all(reads.collect()).await?;
        // One that went since the listing is left out.
        let mut present: Vec<_> = read
            .into_iter()
            .filter_map(|(name, bytes)| Some((name, bytes?)))
            .collect();
        present.sort();
        Ok(present)
    }
}

/// Awaits all, [`CONCURRENCY`] at once, and returns what they gave in their order.
pub(crate) async fn all<T>(
    operations: Vec<impl Future<Output = Result<T, LoadError>>>,
) -> Result<Vec<T>, LoadError> {
    futures::stream::iter(operations)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn absent_as_none<T>(result: object_store::Result<T>) -> object_store::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The place on this machine that an address means: a path, or `file://…`; `None` where it means another store.
///
/// # Errors
/// When it is a `file://` without an absolute path.
pub fn local_path(url: &str) -> Result<Option<PathBuf>, LoadError> {
    match url.split_once("://") {
        None => Ok(Some(PathBuf::from(url))),
        Some(("file", _)) => file_path(url).map(Some),
        Some(_) => Ok(None),
    }
}

fn file_path(url: &str) -> Result<PathBuf, LoadError> {
    Url::parse(url)
        .ok()
        .and_then(|parsed| parsed.to_file_path().ok())
        .ok_or_else(|| LoadError::InvalidUrl {
            url: url.to_owned(),
            reason: "expected an absolute path on this machine after `file://`".to_owned(),
        })
}

async fn open_local(url: &str, folder: PathBuf) -> Result<LakeStore, LoadError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| LoadError::Open {
        url: url.to_owned(),
        source,
    };
    if folder.as_os_str().is_empty() {
        return Err(LoadError::InvalidUrl {
            url: url.to_owned(),
            reason: "expected a path or an address, got nothing".to_owned(),
        });
    }
    tokio::fs::create_dir_all(&folder)
        .await
        .map_err(|source| failed(source.into()))?;
    let root = tokio::fs::canonicalize(&folder)
        .await
        .map_err(|source| failed(source.into()))?;
    let store = LocalFileSystem::new_with_prefix(&root).map_err(|source| failed(source.into()))?;
    Ok(LakeStore {
        local_root: Some(root.into()),
        ..LakeStore::from_object_store(url, Arc::new(store.with_fsync(true)))
    })
}

#[cfg(feature = "s3")]
fn open_s3(address: &LakeAddress) -> Result<LakeStore, LoadError> {
    let store = crate::s3::open(address)?;
    Ok(LakeStore::from_object_store(address, store))
}

#[cfg(not(feature = "s3"))]
fn open_s3(address: &LakeAddress) -> Result<LakeStore, LoadError> {
    Err(LoadError::InvalidUrl {
        url: address.to_string(),
        reason: "this program was built without S3 (feature `s3`)".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_of_another_kind_is_refused_by_name() {
        let error = LakeStore::open("gs://bucket").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "lake `gs://bucket`: expected a path, `file://`, `s3://` or `memory://`, got `gs://`"
        );
        assert!(LakeStore::open("").await.is_err());
    }

    #[cfg(not(feature = "s3"))]
    #[tokio::test]
    async fn s3_needs_its_feature() {
        let error = LakeStore::open("s3://bucket/lake").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "lake `s3://bucket/lake`: this program was built without S3 (feature `s3`)"
        );
    }

    #[tokio::test]
    async fn hive_folders_stand_raw_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let lake = folder.path().join("a/b c");
        let store = LakeStore::open(lake.to_str().unwrap()).await.unwrap();
        let path = Path::from("queries/app_id=st-1/dt=2025-06-28/hour=3/part-00000-r1-ab.parquet");
        store.ensure(&path, Bytes::from_static(b"x")).await.unwrap();
        assert!(
            lake.join("queries/app_id=st-1/dt=2025-06-28/hour=3/part-00000-r1-ab.parquet")
                .is_file()
        );

        let url = Url::from_file_path(&lake).unwrap();
        let again = LakeStore::open(url.as_str()).await.unwrap();
        assert_eq!(again.read(&path).await.unwrap().unwrap(), "x");
        assert_eq!(again.url(), url.as_str());
    }
}
