//! Cuts a table's rows of one partition into files.
//!
//! A file ends with the row group that takes it to its target size, so every file but the last is whole row groups
//! of full size.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use answerlake_model::{Table, TableSchema};
use arrow::array::RecordBatch;
use tempfile::TempPath;

use crate::config::WriterConfig;
use crate::data_file::TimeSpan;
use crate::error::LoadError;
use crate::file_writer::DataFileWriter;

/// An encoded data file, in scratch until it is committed. The scratch file goes when this is dropped; what was
/// staged stays.
#[derive(Debug)]
pub struct EncodedFile {
    /// Its table.
    pub table: Table,
    /// Its number among the table's files of the partition, from 0.
    pub part: u32,
    /// The scratch file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The times of its rows; `None` where its table has none.
    pub created_at: Option<TimeSpan>,
    /// Removes the scratch file.
    _scratch: TempPath,
}

/// Writes a table's rows of one partition, to as many files as they need.
pub struct RollingWriter {
    config: Arc<WriterConfig>,
    schema: TableSchema,
    schema_version: u32,
    scratch: Arc<Path>,
    writer: Option<DataFileWriter>,
    finished: Vec<EncodedFile>,
}

impl RollingWriter {
    /// Makes a writer; the first file begins with the first row.
    pub fn new(
        config: Arc<WriterConfig>,
        schema: TableSchema,
        schema_version: u32,
        scratch: Arc<Path>,
    ) -> Self {
        Self {
            config,
            schema,
            schema_version,
            scratch,
            writer: None,
            finished: Vec::new(),
        }
    }

    /// Writes all rows of `batch`.
    ///
    /// # Errors
    /// When the batch does not have the table's columns, or a scratch file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), LoadError> {
        let mut rest = batch.clone();
        while rest.num_rows() > 0 {
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => DataFileWriter::try_new(
                    &self.config,
                    &self.schema,
                    self.schema_version,
                    &self.scratch,
                )?,
            };
            let rows = writer.write(&rest)?;
            rest = rest.slice(rows, rest.num_rows() - rows);
            // Only a row group's end changes what was written, so this never cuts one short.
            if writer.written_bytes() < self.config.target_file_bytes {
                self.writer = Some(writer);
            } else {
                self.finish(writer)?;
            }
        }
        Ok(())
    }

    /// Bytes of memory that the open file takes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, DataFileWriter::memory_bytes)
    }

    /// Ends the last file and returns all, in the order of their parts.
    ///
    /// # Errors
    /// When a scratch file cannot be written.
    pub fn close(mut self) -> Result<Vec<EncodedFile>, LoadError> {
        if let Some(writer) = self.writer.take() {
            self.finish(writer)?;
        }
        Ok(self.finished)
    }

    fn finish(&mut self, writer: DataFileWriter) -> Result<(), LoadError> {
        let file = writer.close()?;
        self.finished.push(EncodedFile {
            table: self.schema.table,
            part: self.finished.len() as u32,
            path: file.scratch.to_path_buf(),
            rows: file.rows,
            bytes: file.bytes,
            sha256: file.sha256,
            created_at: file.created_at,
            _scratch: file.scratch,
        });
        Ok(())
    }
}
