//! Which committed records a proposal would lose.
//!
//! A source that answers with fewer records than it did before has deleted them, or has failed. Told apart by id, not
//! by number: a record that went while another came is lost all the same.

use std::collections::BTreeSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch};
use futures::TryStreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use crate::commit::Proposal;
use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::file_reader::StoredFile;
use crate::lake::{Lake, PartitionState};
use crate::store::run_blocking;

/// Ids that are compared at once; of more, the files are read several times.
const IDS_AT_ONCE: u64 = 200_000;

/// Records that the partition holds and a proposal does not bring.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LostRecords {
    /// How many; at least 1.
    pub(crate) count: u64,
    /// The id of one of them.
    pub(crate) example: String,
}

impl Lake {
    /// The records that the partition holds and the proposal does not bring, under any event.
    ///
    /// One partition at a time: the ids of many would be too much for the memory of a run.
    pub(crate) async fn lost_records(
        &self,
        state: &PartitionState,
        proposal: &Proposal,
    ) -> Result<Option<LostRecords>, LoadError> {
        let _alone = self
            .comparing
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let held: Vec<_> = state
            .manifest
            .files
            .iter()
            .filter_map(|file| Some((file, proposal.record_id_columns[file.table]?)))
            .collect();
        let rows: u64 = held.iter().map(|(file, _)| file.rows).sum();
        let classes = rows.div_ceil(IDS_AT_ONCE).max(1);
        let mut lost: Option<LostRecords> = None;
        for class in 0..classes {
            let mut ids = BTreeSet::new();
            for (file, column) in &held {
                let read = self.collect_committed_ids(file, column, (class, classes), &mut ids);
                read.await.map_err(|source| LoadError::ReadData {
                    path: file.path.clone(),
                    source,
                })?;
            }
            let ids = without_those_brought(ids, proposal).await?;
            if let Some(example) = ids.first() {
                lost = Some(LostRecords {
                    count: lost.as_ref().map_or(0, |lost| lost.count) + ids.len() as u64,
                    example: lost.map_or_else(|| example.clone(), |lost| lost.example),
                });
            }
        }
        Ok(lost)
    }

    async fn collect_committed_ids(
        &self,
        file: &DataFile,
        column: &str,
        (class, classes): (u64, u64),
        ids: &mut BTreeSet<String>,
    ) -> Result<(), ParquetError> {
        let reader = StoredFile::new(&self.store, file);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
        let mask = only(builder.parquet_schema(), column);
        let mut batches = builder.with_projection(mask).build()?;
        while let Some(batch) = batches.try_next().await? {
            let own = texts(&batch).filter(|id| class_of(id, classes) == class);
            ids.extend(own.map(str::to_owned));
        }
        Ok(())
    }
}

async fn without_those_brought(
    mut ids: BTreeSet<String>,
    proposal: &Proposal,
) -> Result<BTreeSet<String>, LoadError> {
    let files: Vec<(PathBuf, &'static str)> = proposal
        .files
        .iter()
        .filter_map(|file| Some((file.path.clone(), proposal.record_id_columns[file.table]?)))
        .collect();
    run_blocking(move || {
        for (path, column) in files {
            remove_encoded(&path, column, &mut ids).map_err(|source| LoadError::ReadData {
                path: path.display().to_string(),
                source,
            })?;
        }
        Ok(ids)
    })
    .await
}

/// The class of an id, of so many.
fn class_of(id: &str, classes: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() % classes
}

fn remove_encoded(
    path: &std::path::Path,
    column: &str,
    ids: &mut BTreeSet<String>,
) -> Result<(), ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = only(builder.parquet_schema(), column);
    for batch in builder.with_projection(mask).build()? {
        for id in texts(&batch?) {
            ids.remove(id);
        }
    }
    Ok(())
}

fn only(schema: &SchemaDescriptor, column: &str) -> ProjectionMask {
    ProjectionMask::columns(schema, [column])
}

/// The texts of a batch's only column; none where it has no such column.
fn texts(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    let column = batch.columns().first();
    let texts = column.and_then(|column| column.as_string_opt::<i32>());
    texts.into_iter().flat_map(|texts| texts.iter().flatten())
}
