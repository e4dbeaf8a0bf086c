//! Writes one Parquet file, to a scratch file, hashed as it goes.
//!
//! The columns of a batch are encoded in parallel on the rayon pool that the caller runs in. Each column has its own
//! writer and sees the same values in the same order whatever the threads do, so the bytes depend on the batches and
//! the settings only. Nothing in the file says when or by whom it was written.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use answerlake_model::{ColumnRole, Table, TableSchema};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::ZstdLevel;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::TempPath;

use crate::config::{Compression, MAX_FILE_BYTES, WriterConfig};
use crate::data_file::TimeSpan;
use crate::error::LoadError;
use crate::row_size::row_sizes;

/// What every file names as its maker; no version, so that a new program writes the same bytes.
const CREATED_BY: &str = "answerlake";

/// The key of a file's metadata that holds the schema version of the lake.
pub const SCHEMA_VERSION_KEY: &str = "answerlake.schema_version";

/// The column of the rows' times.
const TIME_COLUMN: &str = "created_at";

/// Distinct values up to which an id's bloom filter keeps its rate of false positives. It takes 256 KiB while it is
/// filled and is folded to what it holds when written.
const BLOOM_FILTER_VALUES: u64 = 131_072;
const BLOOM_FILTER_FALSE_POSITIVES: f64 = 0.01;

/// Bytes of a value that statistics and the column index keep.
const STATISTICS_BYTES: usize = 64;

/// Writes one data file of one table.
pub struct DataFileWriter {
    table: Table,
    fields: Vec<FieldRef>,
    /// How many Parquet columns each field has.
    leaves: Vec<usize>,
    row_group_rows: usize,
    row_group_bytes: u64,
    writer: SerializedFileWriter<HashingFile>,
    factory: ArrowRowGroupWriterFactory,
    group: Option<RowGroup>,
    rows: u64,
    scratch: TempPath,
}

/// A row group that is being filled.
struct RowGroup {
    /// The writers of each field's columns.
    columns: Vec<Vec<ArrowColumnWriter>>,
    rows: usize,
    bytes: u64,
}

/// A finished file, still in scratch. It is removed when this is dropped.
#[derive(Debug)]
pub struct FinishedFile {
    /// Where it is.
    pub scratch: TempPath,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The times of its rows, by its statistics; `None` where its table has none.
    pub created_at: Option<TimeSpan>,
}

impl DataFileWriter {
    /// Begins a file in the folder `scratch`.
    ///
    /// # Errors
    /// When a setting is out of bounds, the scratch file cannot be created, or the schema has no Parquet form.
    pub fn try_new(
        config: &WriterConfig,
        schema: &TableSchema,
        schema_version: u32,
        scratch: &Path,
    ) -> Result<Self, LoadError> {
        config.validate()?;
        let encode = LoadError::encode(schema.table);
        let descriptor = ArrowSchemaConverter::new()
            .schema_root("schema")
            .convert(&schema.arrow)
            .map_err(encode)?;
        let properties = properties(config, schema, schema_version, &descriptor).map_err(encode)?;
        let (file, path) = create_scratch(scratch)
            .map_err(LoadError::scratch("create a file in", scratch))?
            .into_parts();
        let writer = SerializedFileWriter::new(
            HashingFile::new(file),
            descriptor.root_schema_ptr(),
            Arc::new(properties),
        )
        .map_err(encode)?;
        let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&schema.arrow));
        Ok(Self {
            table: schema.table,
            fields: schema.arrow.fields().to_vec(),
            leaves: leaves_of_fields(&schema.arrow, &descriptor),
            row_group_rows: config.row_group_rows,
            row_group_bytes: config.row_group_bytes as u64,
            writer,
            factory,
            group: None,
            rows: 0,
            scratch: path,
        })
    }

    /// Writes the first rows of `batch`, at most up to the end of the row group, and says how many: all, unless a row
    /// group ended. The caller writes the rest, here or to its next file.
    ///
    /// A text column may come as `Utf8View` or as a dictionary (`Int32` keys, `Utf8` values); the file has plain text.
    ///
    /// # Errors
    /// When the batch does not have the table's columns, or the scratch file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<usize, LoadError> {
        self.check_columns(batch)?;
        if batch.num_rows() == 0 {
            return Ok(0);
        }
        let room = MAX_FILE_BYTES.saturating_sub(self.encoded_bytes());
        let group = match self.group.take() {
            Some(group) => group,
            None => self.begin_row_group()?,
        };
        let group = self.group.insert(group);
        // What a row encodes to is not known before; it is not more than the row.
        let bytes_left = (self.row_group_bytes - group.bytes).min(room);
        let rows_left = self.row_group_rows - group.rows;
        let (rows, bytes) = fitting_rows(&row_sizes(batch), rows_left, bytes_left);

        let taken = batch.slice(0, rows);
        encode_columns(&self.fields, taken.columns(), &mut group.columns)
            .map_err(LoadError::encode(self.table))?;
        group.rows += rows;
        group.bytes += bytes;
        self.rows += rows as u64;
        if rows == rows_left || bytes >= bytes_left {
            self.end_row_group()?;
        }
        Ok(rows)
    }

    /// Bytes of the row groups that ended.
    pub fn written_bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Bytes so far, the open row group's as far as it is encoded.
    fn encoded_bytes(&self) -> u64 {
        let columns = self
            .group
            .iter()
            .flat_map(|group| group.columns.iter().flatten());
        let open: usize = columns
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum();
        self.written_bytes() + open as u64
    }

    /// Bytes of memory that the open row group takes: pages, dictionaries, bloom filters.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let columns = self
            .group
            .iter()
            .flat_map(|group| group.columns.iter().flatten());
        columns.map(|column| column.memory_size() as u64).sum()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn close(mut self) -> Result<FinishedFile, LoadError> {
        self.end_row_group()?;
        let created_at = self.time_span();
        // `into_inner` would do as well, but makes text of what the disk says: that it is full has to be known.
        self.writer
            .finish()
            .map_err(LoadError::encode(self.table))?;
        let file = self.writer.inner_mut();
        let sha256 = std::mem::take(&mut file.sha256);
        Ok(FinishedFile {
            scratch: self.scratch,
            rows: self.rows,
            bytes: file.bytes,
            sha256: hex::encode(sha256.finalize()),
            created_at,
        })
    }

    /// From the first to the last of the times in the row groups that ended.
    fn time_span(&self) -> Option<TimeSpan> {
        let field = self
            .fields
            .iter()
            .position(|field| field.name() == TIME_COLUMN)?;
        let column: usize = self.leaves[..field].iter().sum();
        let mut span: Option<(i64, i64)> = None;
        for group in self.writer.flushed_row_groups() {
            let Some(Statistics::Int64(values)) = group.column(column).statistics() else {
                return None;
            };
            let (first, last) = (*values.min_opt()?, *values.max_opt()?);
            span = Some(span.map_or((first, last), |span| (span.0.min(first), span.1.max(last))));
        }
        let (first, last) = span?;
        TimeSpan::of_micros(first, last)
    }

    fn check_columns(&self, batch: &RecordBatch) -> Result<(), LoadError> {
        let mismatch = |expected, got| LoadError::Schema {
            table: self.table,
            expected,
            got,
        };
        if batch.num_columns() != self.fields.len() {
            return Err(mismatch(
                format!("{} columns", self.fields.len()),
                format!("{} columns", batch.num_columns()),
            ));
        }
        for (field, column) in self.fields.iter().zip(batch.columns()) {
            if !holds(column.data_type(), field.data_type()) {
                return Err(mismatch(
                    format!("column `{}` as {}", field.name(), field.data_type()),
                    column.data_type().to_string(),
                ));
            }
        }
        Ok(())
    }

    fn begin_row_group(&self) -> Result<RowGroup, LoadError> {
        let index = self.writer.flushed_row_groups().len();
        let mut writers = self
            .factory
            .create_column_writers(index)
            .map_err(LoadError::encode(self.table))?
            .into_iter();
        let columns = self
            .leaves
            .iter()
            .map(|count| writers.by_ref().take(*count).collect())
            .collect();
        Ok(RowGroup {
            columns,
            rows: 0,
            bytes: 0,
        })
    }

    /// Closing a column compresses its dictionary and last page, so that is done in parallel as well.
    fn end_row_group(&mut self) -> Result<(), LoadError> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let encode = LoadError::encode(self.table);
        let columns: Vec<_> = group.columns.into_iter().flatten().collect();
        let chunks: Vec<ArrowColumnChunk> = columns
            .into_par_iter()
            .map(ArrowColumnWriter::close)
            .collect::<Result<_, _>>()
            .map_err(encode)?;
        let mut row_group = self.writer.next_row_group().map_err(encode)?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut row_group).map_err(encode)?;
        }
        row_group.close().map_err(encode)?;
        Ok(())
    }
}

/// How many of the rows end a row group that has room for so many rows and bytes, and their bytes. The row that
/// reaches the bytes is the last; there is always one.
fn fitting_rows(sizes: &[u64], rows_left: usize, bytes_left: u64) -> (usize, u64) {
    let mut bytes = 0;
    for (row, size) in sizes.iter().enumerate() {
        bytes += size;
        if row + 1 == rows_left || bytes >= bytes_left {
            return (row + 1, bytes);
        }
    }
    (sizes.len(), bytes)
}

fn encode_columns(
    fields: &[FieldRef],
    arrays: &[ArrayRef],
    columns: &mut [Vec<ArrowColumnWriter>],
) -> Result<(), ParquetError> {
    fields
        .par_iter()
        .zip(arrays)
        .zip(columns)
        .try_for_each(|((field, array), writers)| {
            let leaves = compute_leaves(field, array)?;
            for (leaf, writer) in leaves.iter().zip(writers) {
                writer.write(leaf)?;
            }
            Ok(())
        })
}

/// Whether an array of type `given` can be written to a column of type `wanted`.
fn holds(given: &DataType, wanted: &DataType) -> bool {
    match (given, wanted) {
        (DataType::Utf8View, DataType::Utf8) => true,
        (DataType::Dictionary(key, value), DataType::Utf8) => {
            **key == DataType::Int32 && **value == DataType::Utf8
        }
        (DataType::List(given), DataType::List(wanted)) => {
            holds(given.data_type(), wanted.data_type())
        }
        _ => given == wanted,
    }
}

fn leaves_of_fields(schema: &Schema, descriptor: &SchemaDescriptor) -> Vec<usize> {
    let mut leaves = vec![0; schema.fields().len()];
    for column in 0..descriptor.num_columns() {
        leaves[descriptor.get_column_root_idx(column)] += 1;
    }
    leaves
}

fn properties(
    config: &WriterConfig,
    schema: &TableSchema,
    schema_version: u32,
    descriptor: &SchemaDescriptor,
) -> Result<WriterProperties, ParquetError> {
    let compression = match config.compression {
        Compression::Zstd(level) => parquet::basic::Compression::ZSTD(ZstdLevel::try_new(level)?),
        Compression::Snappy => parquet::basic::Compression::SNAPPY,
    };
    let version = KeyValue::new(SCHEMA_VERSION_KEY.to_owned(), schema_version.to_string());
    let mut builder = WriterProperties::builder()
        // Version 1 pages and encodings: what the hosted warehouses read for certain.
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(CREATED_BY.to_owned())
        .set_key_value_metadata(Some(vec![version]))
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES));
    for (index, column) in descriptor.columns().iter().enumerate() {
        let path = column.path().clone();
        let role = schema.roles.get(descriptor.get_column_root_idx(index));
        builder = match role.unwrap_or(&ColumnRole::Plain) {
            ColumnRole::Plain => builder,
            ColumnRole::Id => builder
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FILTER_FALSE_POSITIVES)
                .set_column_bloom_filter_max_ndv(
                    path,
                    BLOOM_FILTER_VALUES.min(config.row_group_rows as u64),
                ),
            // Pages are cut by their bytes alone; that also keeps their number small enough for statistics a page
            // to be worth nothing.
            ColumnRole::LongText => builder
                .set_column_dictionary_page_size_limit(
                    path.clone(),
                    config.long_text_dictionary_bytes,
                )
                .set_column_data_page_size_limit(path.clone(), config.long_text_page_bytes)
                .set_column_data_page_row_count_limit(path.clone(), config.row_group_rows)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
        };
    }
    Ok(builder.build())
}

fn create_scratch(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("data-").suffix(".parquet");
    // A local lake links this very file, so it gets the rights of any new file there, not those of a temporary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A file that hashes and counts what is written to it.
struct HashingFile {
    file: File,
    sha256: Sha256,
    bytes: u64,
}

impl HashingFile {
    fn new(file: File) -> Self {
        Self {
            file,
            sha256: Sha256::new(),
            bytes: 0,
        }
    }
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
