//! Reads columns of a data file, wherever it is stored, in little memory: page by page, not by row groups.
//!
//! What reads blocks, and has a thread of its own; what it waits for runs on the runtime.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::buf::Reader as BytesReader;
use bytes::{Buf, Bytes};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::file_reader::StoredFile;
use crate::lake::Lake;
use crate::store::LakeStore;

/// Bytes that are read at once from far away, at least: a request takes as long as some megabytes.
const REMOTE_BLOCK_BYTES: u64 = 4 << 20;

/// Bytes that are read at once from a disk, at least.
const LOCAL_BLOCK_BYTES: u64 = 1 << 20;

/// A file of this size is read once for all of its columns, and stays in memory as long as it is open.
const SMALL_FILE_BYTES: u64 = 1 << 20;

/// Bytes of a batch that are aimed at.
const BATCH_BYTES: u64 = 4 << 20;

/// Rows of a batch, at most.
const BATCH_ROWS: u64 = 4096;

/// A data file whose columns can be read.
#[derive(Debug, Clone)]
pub struct StoredColumns {
    file: DataFile,
    store: LakeStore,
    /// With views in place of text: a value that stands in a hundred rows is in memory once, and a dictionary is not
    /// copied on its way there.
    metadata: ArrowReaderMetadata,
    /// The columns as they are.
    schema: SchemaRef,
    /// The whole of a small file, once it was read.
    whole: Option<LastBlock>,
}

impl Lake {
    /// Opens a committed file.
    ///
    /// # Errors
    /// When the store cannot be read, or the file's footer is none.
    pub async fn open_columns(&self, file: &DataFile) -> Result<StoredColumns, LoadError> {
        let failed = |error| read_error(&file.path, error);
        let footer = StoredFile::new(&self.store, file).get_metadata(None).await;
        let footer = footer.map_err(failed)?;
        let options = ArrowReaderOptions::new();
        let plain = ArrowReaderMetadata::try_new(Arc::clone(&footer), options).map_err(failed)?;
        let options = ArrowReaderOptions::new().with_schema(with_views(plain.schema()));
        Ok(StoredColumns {
            file: file.clone(),
            store: self.store.clone(),
            metadata: ArrowReaderMetadata::try_new(footer, options).map_err(failed)?,
            schema: Arc::clone(plain.schema()),
            whole: (file.bytes <= SMALL_FILE_BYTES).then(LastBlock::default),
        })
    }
}

impl StoredColumns {
    /// The file.
    pub fn file(&self) -> &DataFile {
        &self.file
    }

    /// The names of its columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.metadata.schema().fields().iter();
        fields.map(|field| field.name().as_str())
    }

    /// The bytes of its largest column in one row group, compressed values taken out: what reading that column takes
    /// of memory, about.
    pub fn largest_column_bytes(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter();
        let sizes = groups.flat_map(|group| group.columns().iter());
        let largest = sizes.map(ColumnChunkMetaData::uncompressed_size).max();
        largest.map_or(0, |bytes| u64::try_from(bytes).unwrap_or_default())
    }

    /// The bytes of its largest row group, the same way.
    pub fn largest_row_group_bytes(&self) -> u64 {
        let groups = self.metadata.metadata().row_groups().iter();
        let largest = groups.map(RowGroupMetaData::total_byte_size).max();
        largest.map_or(0, |bytes| u64::try_from(bytes).unwrap_or_default())
    }

    /// Reads the columns of these names, in batches; those that the file does not have are left out. Text comes as
    /// views. To be called, and read, where it may block, by a thread of `runtime` or beside it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self, names: &[&str], runtime: &Handle) -> Result<Batches, LoadError> {
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::columns(schema, names.iter().copied());
        self.batches(mask, self.batch_rows(names), None, runtime)
    }

    /// Reads all columns as they are, in batches of so many rows, as [`StoredColumns::read`] does.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_rows(&self, batch_rows: usize, runtime: &Handle) -> Result<Batches, LoadError> {
        let schema = Some(Arc::clone(&self.schema));
        self.batches(ProjectionMask::all(), batch_rows, schema, runtime)
    }

    fn batches(
        &self,
        mask: ProjectionMask,
        batch_rows: usize,
        schema: Option<SchemaRef>,
        runtime: &Handle,
    ) -> Result<Batches, LoadError> {
        let failure = Arc::new(Mutex::new(None));
        let blocks = StoredBlocks {
            store: self.store.clone(),
            path: Path::from(self.file.path.as_str()),
            bytes: self.file.bytes,
            runtime: runtime.clone(),
            last: self.whole.clone().unwrap_or_default(),
            failure: Arc::clone(&failure),
        };
        let builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(blocks, self.metadata.clone());
        let reader = builder
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build();
        let path = self.file.path.clone();
        Ok(Batches {
            reader: reader.map_err(|error| read_error(&path, error))?,
            schema,
            path,
            failure,
        })
    }

    /// How many rows of these columns make a batch of the size that is aimed at, as far as the sizes tell: of what is
    /// in a dictionary, they do not.
    fn batch_rows(&self, names: &[&str]) -> usize {
        let (mut rows, mut bytes) = (0, 0);
        for group in self.metadata.metadata().row_groups() {
            rows += u64::try_from(group.num_rows()).unwrap_or_default();
            let columns = group.columns().iter().filter(|column| {
                let root = column.column_path().parts().first();
                root.is_some_and(|root| names.contains(&root.as_str()))
            });
            let sizes = columns.map(|column| u64::try_from(column.uncompressed_size()));
            bytes += sizes.map(Result::unwrap_or_default).sum::<u64>();
        }
        let row_bytes = bytes / rows.max(1) + 1;
        usize::try_from((BATCH_BYTES / row_bytes).clamp(1, BATCH_ROWS)).unwrap_or(1)
    }
}

/// Tells the store's failure from a file that is none.
pub(crate) fn read_error(path: &str, error: ParquetError) -> LoadError {
    let source = match error {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(failure) => return LoadError::store("read", &Path::from(path))(*failure),
            Err(cause) => ParquetError::External(cause),
        },
        error => error,
    };
    LoadError::ReadData {
        path: path.to_owned(),
        source,
    }
}

/// The same columns, with views in place of text.
fn with_views(schema: &SchemaRef) -> SchemaRef {
    fn viewed(data_type: &DataType) -> DataType {
        match data_type {
            DataType::Utf8 => DataType::Utf8View,
            DataType::List(field) => DataType::List(Arc::new(with_view(field))),
            other => other.clone(),
        }
    }
    fn with_view(field: &Field) -> Field {
        field.clone().with_data_type(viewed(field.data_type()))
    }
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| with_view(field))
        .collect();
    Arc::new(Schema::new(fields))
}

/// The rows of a data file, in batches.
pub struct Batches {
    reader: ParquetRecordBatchReader,
    /// What views are to be made of; they stay, where there is none.
    schema: Option<SchemaRef>,
    path: String,
    /// How the store failed, if it did: on its way through the reader, its error becomes a text.
    failure: Failure,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.and_then(|batch| match &self.schema {
            Some(schema) => without_views(&batch, schema),
            None => Ok(batch),
        });
        Some(batch.map_err(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            let error = match failure.take() {
                Some(failure) => ParquetError::External(Box::new(failure)),
                None => ParquetError::General(error.to_string()),
            };
            read_error(&self.path, error)
        }))
    }
}

fn without_views(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| cast(column, field.data_type()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

/// The block that was read last, and where it begins.
type LastBlock = Arc<Mutex<(u64, Bytes)>>;

type Failure = Arc<Mutex<Option<object_store::Error>>>;

/// A stored file, of which the last block that was read is in memory.
struct StoredBlocks {
    store: LakeStore,
    path: Path,
    bytes: u64,
    runtime: Handle,
    last: LastBlock,
    failure: Failure,
}

impl StoredBlocks {
    /// Bytes from `start` on, `least` of them and those that came along.
    fn read(&self, start: u64, least: u64) -> Result<Bytes, ParquetError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let within = start
            .checked_sub(last.0)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(rest) = within.and_then(|at| (at <= last.1.len()).then(|| last.1.slice(at..)))
            && rest.len() as u64 >= least
        {
            return Ok(rest);
        }
        let block_bytes = match self.store.local_root() {
            Some(_) => LOCAL_BLOCK_BYTES,
            None => REMOTE_BLOCK_BYTES,
        };
        let is_small = self.bytes <= SMALL_FILE_BYTES;
        let first = if is_small { 0 } else { start };
        let end = first.saturating_add(least.max(block_bytes)).min(self.bytes);
        if start.saturating_add(least) > end {
            return Err(ParquetError::EOF(format!(
                "expected {least} bytes at {start}, got a file of {} bytes",
                self.bytes
            )));
        }
        // The old block goes first: the two need not be in memory together.
        *last = (0, Bytes::new());
        let block = self.read_range(first..end).map_err(|error| {
            let text = error.to_string();
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            ParquetError::General(text)
        })?;
        // A large page, such as a dictionary, is asked for once.
        if least < block_bytes {
            *last = (first, block.clone());
        }
        Ok(block.slice(usize::try_from(start - first).unwrap_or(usize::MAX)..))
    }

    fn read_range(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        match self.store.local_root() {
            // On this thread: through the store, each block would take another one, and memory there.
            Some(root) => read_local(&root.join(self.path.as_ref()), range),
            None => {
                let store = self.store.object_store();
                self.runtime.block_on(store.get_range(&self.path, range))
            }
        }
    }
}

fn read_local(path: &FilePath, range: Range<u64>) -> object_store::Result<Bytes> {
    let read = || {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut block = vec![0; length];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(&mut block)?;
        Ok(block.into())
    };
    read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => object_store::Error::NotFound {
            path: path.display().to_string(),
            source: error.into(),
        },
        _ => object_store::Error::Generic {
            store: "LocalFileSystem",
            source: error.into(),
        },
    })
}

impl Length for StoredBlocks {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for StoredBlocks {
    type T = BytesReader<Bytes>;

    /// A page's header, whose length nobody knows: with statistics, some hundred bytes.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        const HEADER_BYTES: u64 = 64 << 10;
        let least = HEADER_BYTES.min(self.bytes.saturating_sub(start));
        Ok(self.read(start, least)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.read(start, length as u64)?.slice(..length))
    }
}
