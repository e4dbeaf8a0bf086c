//! Data files of one revision, held: they can be read to their end whatever becomes of the partition meanwhile.
//!
//! A run that replaces a partition deletes the files of the revision before, at any moment. So who reads a partition
//! takes hold of all its files before it reads the first row: on a disk by opening them, since a file that is open
//! outlives its name; from any other store by copying them to scratch. A file that is gone by then was dropped by a later
//! revision, and nothing was read yet: that one is taken in its place.
//!
//! A commit that is not published yet is a commit: its files are held wherever they lie, staged or in place.

use std::fs::File;
use std::io;
use std::path::Path as FilePath;
use std::sync::Arc;

use answerlake_model::{PartitionKey, PerTable};
use arrow::array::RecordBatch;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use crate::column_reader::read_error;
use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::lake::{Lake, PartitionState};
use crate::manifest::Manifest;
use crate::store::{all, run_blocking};

/// How often a partition may be replaced while it is taken hold of. Each time, another's commit got through.
const HOLD_TRIES: u32 = 16;

/// The files of a revision, by table, in the order of its manifest.
#[derive(Debug)]
pub struct HeldFiles(PerTable<Vec<HeldFile>>);

/// A file that is open: the one in the lake, or a copy in scratch that has no name any more.
#[derive(Debug)]
struct HeldFile {
    path: Arc<str>,
    file: File,
}

/// What is held of a revision.
enum Held {
    All(HeldFiles),
    /// This file of it is nowhere.
    Gone(String),
}

impl Lake {
    /// Takes hold of the files of a partition's newest revision; `None` if nothing ever was committed. Copies, where the
    /// store is no disk, go to the folder `scratch`.
    ///
    /// # Errors
    /// When the store fails, files of the newest revision are nowhere, or others were faster each time.
    pub async fn hold_newest(
        &self,
        key: &PartitionKey,
        scratch: &FilePath,
    ) -> Result<Option<(PartitionState, HeldFiles)>, LoadError> {
        for _ in 0..HOLD_TRIES {
            let Some(state) = self.state(key).await? else {
                return Ok(None);
            };
            if let Some(files) = self.hold(key, &state, scratch).await? {
                return Ok(Some((state, files)));
            }
            tracing::debug!(partition = %key, revision = state.revision, "replaced while it was taken hold of");
        }
        Err(LoadError::Busy {
            partition: key.clone(),
            tries: HOLD_TRIES,
        })
    }

    /// Takes hold of the files of the revision that `state` is; `None` where a later one has dropped some of them.
    ///
    /// # Errors
    /// When the store fails, or files of the revision are nowhere though it is the newest.
    pub async fn hold(
        &self,
        key: &PartitionKey,
        state: &PartitionState,
        scratch: &FilePath,
    ) -> Result<Option<HeldFiles>, LoadError> {
        if state.is_broken() {
            return Err(LoadError::Broken {
                partition: key.clone(),
                revision: state.revision,
                missing: state.missing.clone(),
            });
        }
        let gone = match self.hold_files(&state.manifest, scratch).await? {
            Held::All(files) => return Ok(Some(files)),
            Held::Gone(path) => path,
        };
        // Files are deleted only once there is a later revision.
        if self.is_superseded(key, state.revision).await? {
            return Ok(None);
        }
        let path = Path::from(gone);
        Err(LoadError::store("read", &path)(
            object_store::Error::NotFound {
                path: path.to_string(),
                source: "it is missing, and no later revision has dropped it".into(),
            },
        ))
    }

    async fn hold_files(&self, manifest: &Manifest, scratch: &FilePath) -> Result<Held, LoadError> {
        let opened = manifest
            .files
            .iter()
            .map(|file| self.hold_file(file, scratch));
        let opened = all(opened.collect()).await?;
        let mut files = PerTable::<Vec<HeldFile>>::default();
        for (named, opened) in manifest.files.iter().zip(opened) {
            let Some(file) = opened else {
                return Ok(Held::Gone(named.path.clone()));
            };
            files[named.table].push(HeldFile {
                path: named.path.as_str().into(),
                file,
            });
        }
        Ok(Held::All(HeldFiles(files)))
    }

    /// Opens a file where it lies; `None` if that is nowhere.
    async fn hold_file(
        &self,
        file: &DataFile,
        scratch: &FilePath,
    ) -> Result<Option<File>, LoadError> {
        // A publisher may move it from the second of these places to the first between two looks.
        let staged = file.staged_path();
        let places = [
            Some(file.path.as_str()),
            staged,
            staged.map(|_| file.path.as_str()),
        ];
        for place in places.into_iter().flatten() {
            let place = Path::from(place);
            let opened = match self.store.local_root() {
                Some(root) => open(root.join(place.as_ref()), &place).await?,
                None => self.copy(&place, file.bytes, scratch).await?,
            };
            if opened.is_some() {
                return Ok(opened);
            }
        }
        Ok(None)
    }

    /// Copies a data file to scratch; `None` where there is none.
    async fn copy(
        &self,
        path: &Path,
        bytes: u64,
        scratch: &FilePath,
    ) -> Result<Option<File>, LoadError> {
        let Some(copy) = self.fetch(path, scratch).await? else {
            return Ok(None);
        };
        let copied = copy.metadata().map_or(0, |file| file.len());
        if copied != bytes {
            return Err(LoadError::ReadData {
                path: path.to_string(),
                source: ParquetError::EOF(format!("expected {bytes} bytes, got {copied} bytes")),
            });
        }
        Ok(Some(copy))
    }
}

async fn open(file: std::path::PathBuf, path: &Path) -> Result<Option<File>, LoadError> {
    match run_blocking(move || File::open(file)).await {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LoadError::store("read", path)(
            object_store::Error::Generic {
                store: "LocalFileSystem",
                source: error.into(),
            },
        )),
    }
}

impl HeldFiles {
    /// The rows of each table, file after file, in batches of `batch_rows` rows at most. To be taken where it may block.
    pub fn into_batches(self, batch_rows: usize) -> PerTable<HeldRows> {
        let HeldFiles(mut files) = self;
        PerTable::from_fn(|table| HeldRows {
            files: std::mem::take(&mut files[table]).into_iter(),
            batch_rows,
            reading: None,
        })
    }
}

/// The rows of a table. After an error there are no more.
#[derive(Debug)]
pub struct HeldRows {
    files: std::vec::IntoIter<HeldFile>,
    batch_rows: usize,
    reading: Option<(Arc<str>, ParquetRecordBatchReader)>,
}

impl Iterator for HeldRows {
    type Item = Result<RecordBatch, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, reader)) = &mut self.reading {
                match reader.next() {
                    Some(Ok(batch)) => return Some(Ok(batch)),
                    Some(Err(error)) => {
                        let error = ParquetError::ArrowError(error.to_string());
                        let error = read_error(path, error);
                        return Some(Err(self.end(error)));
                    }
                    None => self.reading = None,
                }
            }
            let HeldFile { path, file } = self.files.next()?;
            let opened = ParquetRecordBatchReaderBuilder::try_new(file)
                .and_then(|builder| builder.with_batch_size(self.batch_rows).build());
            match opened {
                Ok(reader) => self.reading = Some((path, reader)),
                Err(error) => {
                    let error = read_error(&path, error);
                    return Some(Err(self.end(error)));
                }
            }
        }
    }
}

impl HeldRows {
    fn end(&mut self, error: LoadError) -> LoadError {
        self.files = Vec::new().into_iter();
        self.reading = None;
        error
    }
}
