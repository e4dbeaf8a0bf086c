//! Writes the tables of many partitions side by side.
//!
//! Tables are encoded in parallel, and the columns of each table as well, on the rayon pool that the caller runs in.
//! While the run's memory for open files is exhausted, batches wait in scratch, and are encoded when the files are
//! ended: one after the other, each as if it had never waited.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use answerlake_model::{PartitionKey, PerTable, Table, TableSchema};
use arrow::array::RecordBatch;
use rayon::prelude::*;

use crate::config::WriterConfig;
use crate::error::LoadError;
use crate::memory::{HeldMemory, WriterMemory};
use crate::rolling_writer::{EncodedFile, RollingWriter};
use crate::spill::{Spill, SpilledBatch};

/// Encodes batches to the data files of their partitions.
pub struct PartitionedWriter {
    config: Arc<WriterConfig>,
    schemas: Arc<PerTable<TableSchema>>,
    schema_version: u32,
    scratch: Arc<Path>,
    memory: Arc<WriterMemory>,
    writers: BTreeMap<PartitionKey, BTreeMap<Table, TableWriter>>,
    spill: Option<Spill>,
}

/// One table of one partition.
struct TableWriter {
    writer: RollingWriter,
    /// Absent as long as nothing was encoded.
    held: Option<HeldMemory>,
    /// What is to be encoded after what was.
    spilled: Vec<SpilledBatch>,
}

impl PartitionedWriter {
    /// Makes a writer whose files wait in the folder `scratch`, which is created when absent, and which shares
    /// `memory` with others.
    ///
    /// # Errors
    /// When a setting is out of bounds, or the folder cannot be created.
    pub fn try_new(
        config: WriterConfig,
        schemas: Arc<PerTable<TableSchema>>,
        schema_version: u32,
        scratch: &Path,
        memory: Arc<WriterMemory>,
    ) -> Result<Self, LoadError> {
        config.validate()?;
        std::fs::create_dir_all(scratch).map_err(LoadError::scratch("create folder", scratch))?;
        Ok(Self {
            config: Arc::new(config),
            schemas,
            schema_version,
            scratch: scratch.into(),
            memory,
            writers: BTreeMap::new(),
            spill: None,
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
            writers.entry(*table).or_insert_with(|| TableWriter {
                writer: RollingWriter::new(
                    Arc::clone(&self.config),
                    self.schemas[*table].clone(),
                    self.schema_version,
                    Arc::clone(&self.scratch),
                ),
                held: None,
                spilled: Vec::new(),
            });
        }
        let mut work = Vec::with_capacity(filled.len());
        for (table, writer) in writers.iter_mut() {
            let Some(batch) = filled.get(table) else {
                continue;
            };
            if writer.must_wait(&self.memory) {
                let spill = match &mut self.spill {
                    Some(spill) => spill,
                    None => self.spill.insert(Spill::try_new(&self.scratch)?),
                };
                writer.spilled.push(spill.append(batch)?);
            } else {
                work.push((writer, *batch));
            }
        }
        let memory = &self.memory;
        work.into_par_iter()
            .try_for_each(|(writer, batch)| writer.write(batch, memory))
    }

    /// Whether some of what was written waits in scratch; closing needs much memory then, for one file at a time.
    pub fn has_spilled(&self) -> bool {
        self.spill.is_some()
    }

    /// Ends all files, those in parallel of which nothing waits in scratch. A partition that was written to is in the
    /// result, even if it got no rows.
    ///
    /// # Errors
    /// When a scratch file cannot be written.
    pub fn close(self) -> Result<BTreeMap<PartitionKey, Vec<EncodedFile>>, LoadError> {
        let mut files: BTreeMap<PartitionKey, BTreeMap<Table, Vec<EncodedFile>>> = BTreeMap::new();
        let (mut complete, mut behind) = (Vec::new(), Vec::new());
        for (key, writers) in self.writers {
            files.entry(key.clone()).or_default();
            for (table, writer) in writers {
                let tables = if writer.spilled.is_empty() {
                    &mut complete
                } else {
                    &mut behind
                };
                tables.push((key.clone(), table, writer));
            }
        }
        let closed: Vec<_> = complete
            .into_par_iter()
            .map(|(key, table, writer)| Ok((key, table, writer.writer.close()?)))
            .collect::<Result<_, LoadError>>()?;
        // What takes most is ended first.
        behind.sort_by_key(|(_, _, writer)| std::cmp::Reverse(writer.held_bytes()));
        let mut caught_up = Vec::with_capacity(behind.len());
        if let Some(mut spill) = self.spill {
            for (key, table, writer) in behind {
                caught_up.push((key, table, writer.catch_up(&mut spill)?));
            }
        }
        for (key, table, written) in closed.into_iter().chain(caught_up) {
            files.entry(key).or_default().insert(table, written);
        }
        let flat = files
            .into_iter()
            .map(|(key, tables)| (key, tables.into_values().flatten().collect()));
        Ok(flat.collect())
    }
}

impl TableWriter {
    fn must_wait(&self, memory: &WriterMemory) -> bool {
        // What was written later stays behind what was written before.
        !self.spilled.is_empty()
            || match self.held {
                Some(_) => memory.is_exhausted(),
                None => memory.is_exhausted_for_new_files(),
            }
    }

    fn write(&mut self, batch: &RecordBatch, memory: &Arc<WriterMemory>) -> Result<(), LoadError> {
        self.writer.write(batch)?;
        let held = self
            .held
            .get_or_insert_with(|| HeldMemory::new(Arc::clone(memory)));
        held.set(self.writer.memory_bytes());
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        self.held.as_ref().map_or(0, HeldMemory::bytes)
    }

    fn catch_up(mut self, spill: &mut Spill) -> Result<Vec<EncodedFile>, LoadError> {
        for batch in &self.spilled {
            self.writer.write(&spill.read(*batch)?)?;
        }
        self.writer.close()
    }
}
