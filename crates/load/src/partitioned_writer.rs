//! Writes the tables of many partitions side by side.
//!
//! Tables are encoded in parallel, and the columns of each table as well, on the rayon pool that the caller runs in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use answerlake_model::{PartitionKey, PerTable, Table, TableSchema};
use arrow::array::RecordBatch;
use rayon::prelude::*;

use crate::config::WriterConfig;
use crate::error::LoadError;
use crate::rolling_writer::{EncodedFile, RollingWriter};

/// Encodes batches to the data files of their partitions.
pub struct PartitionedWriter {
    config: Arc<WriterConfig>,
    schemas: Arc<PerTable<TableSchema>>,
    schema_version: u32,
    scratch: Arc<Path>,
    writers: BTreeMap<PartitionKey, BTreeMap<Table, RollingWriter>>,
}

impl PartitionedWriter {
    /// Makes a writer whose files wait in the folder `scratch`, which is created when absent.
    ///
    /// # Errors
    /// When a setting is out of bounds, or the folder cannot be created.
    pub fn try_new(
        config: WriterConfig,
        schemas: Arc<PerTable<TableSchema>>,
        schema_version: u32,
        scratch: &Path,
    ) -> Result<Self, LoadError> {
        config.validate()?;
        std::fs::create_dir_all(scratch).map_err(LoadError::scratch("create folder", scratch))?;
        Ok(Self {
            config: Arc::new(config),
            schemas,
            schema_version,
            scratch: scratch.into(),
            writers: BTreeMap::new(),
        })
    }

    /// Appends rows to a partition. A table without rows gets no file.
    ///
    /// # Errors
    /// When a batch does not have its table's columns, or a scratch file cannot be written. The writer is of no
    /// further use then.
    pub fn write(
        &mut self,
        key: &PartitionKey,
        batches: &PerTable<Option<RecordBatch>>,
    ) -> Result<(), LoadError> {
        let filled: BTreeMap<Table, &RecordBatch> = batches
            .iter()
            .filter_map(|(table, batch)| Some((table, batch.as_ref()?)))
            .filter(|(_, batch)| batch.num_rows() > 0)
            .collect();
        let writers = self.writers.entry(key.clone()).or_default();
        for table in filled.keys() {
            writers.entry(*table).or_insert_with(|| {
                RollingWriter::new(
                    Arc::clone(&self.config),
                    self.schemas[*table].clone(),
                    self.schema_version,
                    Arc::clone(&self.scratch),
                )
            });
        }
        let work: Vec<_> = writers
            .iter_mut()
            .filter_map(|(table, writer)| Some((writer, *filled.get(table)?)))
            .collect();
        work.into_par_iter()
            .try_for_each(|(writer, batch)| writer.write(batch))
    }

    /// Bytes encoded so far, in all partitions.
    pub fn encoded_bytes(&self) -> u64 {
        let writers = self.writers.values().flat_map(BTreeMap::values);
        writers.map(RollingWriter::encoded_bytes).sum()
    }

    /// Ends all files, in parallel. A partition that was written to is in the result, even if it got no rows.
    ///
    /// # Errors
    /// When a scratch file cannot be written.
    pub fn close(self) -> Result<BTreeMap<PartitionKey, Vec<EncodedFile>>, LoadError> {
        let partitions: Vec<_> = self.writers.into_iter().collect();
        partitions
            .into_par_iter()
            .map(|(key, writers)| {
                let tables: Vec<_> = writers.into_values().collect();
                let files: Vec<Vec<EncodedFile>> = tables
                    .into_par_iter()
                    .map(RollingWriter::close)
                    .collect::<Result<_, _>>()?;
                Ok((key, files.into_iter().flatten().collect()))
            })
            .collect()
    }
}
