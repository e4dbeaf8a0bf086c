//! Whether a revision has the rows that are proposed anew, in whatever order and however encoded: a source may serve
//! the same records in another order, and that alone is no reason to write them again.

use std::fs::File;

use answerlake_model::{PerTable, Table};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::column_reader::StoredColumns;
use crate::commit::Proposal;
use crate::error::LoadError;
use crate::lake::Lake;
use crate::manifest::Manifest;
use crate::store::run_blocking;

/// Rows of a batch.
const BATCH_ROWS: usize = 64;

/// The rows of a table: how many, and the sum of their hashes, which has no order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    count: u64,
    sum: u128,
}

impl Lake {
    /// Whether the files of a revision have the rows of those that are proposed. They are read only where their bytes
    /// differ; one partition at a time, as that takes memory.
    pub(crate) async fn has_rows_of(
        &self,
        manifest: &Manifest,
        proposal: &Proposal,
    ) -> Result<bool, LoadError> {
        let committed = manifest.files.iter();
        let mut committed: Vec<_> = committed
            .map(|file| (file.table, &file.sha256, file.rows))
            .collect();
        let proposed = proposal.files.iter();
        let mut proposed: Vec<_> = proposed
            .map(|file| (file.table, &file.sha256, file.rows))
            .collect();
        committed.sort();
        proposed.sort();
        if committed == proposed {
            return Ok(true);
        }
        let count = |files: &[(Table, &String, u64)]| {
            let mut rows = PerTable::<u64>::default();
            files
                .iter()
                .for_each(|(table, _, count)| rows[*table] += count);
            rows
        };
        if count(&committed) != count(&proposed) {
            return Ok(false);
        }
        let _alone = self
            .comparing
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut stored = Vec::new();
        for file in &manifest.files {
            match self.open_columns(file).await {
                Ok(opened) => stored.push(opened),
                Err(LoadError::ReadData { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let encoded = proposal
            .files
            .iter()
            .map(|file| (file.table, file.path.clone()));
        let encoded: Vec<_> = encoded.collect();
        let runtime = Handle::current();
        let compared = run_blocking(move || {
            let mut proposed = PerTable::<Rows>::default();
            for (table, path) in encoded {
                let read = add_encoded(&path, &mut proposed[table]);
                read.map_err(|source| LoadError::ReadData {
                    path: path.display().to_string(),
                    source: source.into(),
                })?;
            }
            Ok(rows_of(&stored, &runtime)? == proposed)
        });
        match compared.await {
            // Rows that cannot be read are not the same.
            Err(LoadError::ReadData { .. }) => Ok(false),
            compared => compared,
        }
    }
}

fn rows_of(files: &[StoredColumns], runtime: &Handle) -> Result<PerTable<Rows>, LoadError> {
    let mut rows = PerTable::<Rows>::default();
    for file in files {
        let of_table = &mut rows[file.file().table];
        for batch in file.read_rows(BATCH_ROWS, runtime)? {
            of_table
                .add(&batch?)
                .map_err(|source| LoadError::ReadData {
                    path: file.file().path.clone(),
                    source: source.into(),
                })?;
        }
    }
    Ok(rows)
}

fn add_encoded(path: &std::path::Path, rows: &mut Rows) -> Result<(), ArrowError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    for batch in builder.with_batch_size(BATCH_ROWS).build()? {
        rows.add(&batch?)?;
    }
    Ok(())
}

impl Rows {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let fields = batch.schema_ref().fields().iter();
        let fields = fields.map(|field| SortField::new(field.data_type().clone()));
        let rows = RowConverter::new(fields.collect())?.convert_columns(batch.columns())?;
        for row in &rows {
            let hash: [u8; 32] = Sha256::digest(row.as_ref()).into();
            let (half, _) = hash.split_at(16);
            let half = half.try_into().expect("a half of 32 bytes has 16");
            self.sum = self.sum.wrapping_add(u128::from_le_bytes(half));
            self.count += 1;
        }
        Ok(())
    }
}
