//! Which committed records a proposal would lose.
//!
//! A source that answers with fewer records than it did before has deleted them, or has failed. Told apart by id, not
//! by number: a record that went while another came is lost all the same.

use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::SchemaDescriptor;

use crate::commit::{Proposal, run_blocking};
use crate::error::LoadError;
use crate::lake::{Lake, PartitionState};

impl Lake {
    /// The ids of records that the partition holds and the proposal does not bring, under any event.
    pub(crate) async fn lost_records(
        &self,
        state: &PartitionState,
        proposal: &Proposal,
    ) -> Result<BTreeSet<String>, LoadError> {
        let mut held = BTreeSet::new();
        for file in &state.manifest.files {
            if let Some(column) = proposal.record_id_columns[file.table] {
                let path = Path::from(file.path.as_str());
                let ids = self.committed_ids(&path, file.bytes, column).await;
                held.extend(ids.map_err(|source| LoadError::ReadData {
                    path: file.path.clone(),
                    source,
                })?);
            }
        }
        let files: Vec<(PathBuf, &'static str)> = proposal
            .files
            .iter()
            .filter_map(|file| Some((file.path.clone(), proposal.record_id_columns[file.table]?)))
            .collect();
        let brought = run_blocking(move || {
            let mut ids = BTreeSet::new();
            for (path, column) in files {
                let read = encoded_ids(&path, column);
                ids.extend(read.map_err(|source| LoadError::ReadData {
                    path: path.display().to_string(),
                    source,
                })?);
            }
            Ok(ids)
        })
        .await?;
        held.retain(|id| !brought.contains(id));
        Ok(held)
    }

    async fn committed_ids(
        &self,
        path: &Path,
        bytes: u64,
        column: &str,
    ) -> Result<Vec<String>, ParquetError> {
        let reader = StoredFile {
            store: self.store.object_store(),
            path: path.clone(),
            bytes,
        };
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
        let mask = only(builder.parquet_schema(), column);
        let batches: Vec<RecordBatch> =
            builder.with_projection(mask).build()?.try_collect().await?;
        Ok(batches.iter().flat_map(ids).collect())
    }
}

/// A data file in the store, of which only what is needed is read.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let read = self.store.get_range(&self.path, range);
        read.map(|bytes| bytes.map_err(|error| ParquetError::External(Box::new(error))))
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let bytes = self.bytes;
        async move {
            ParquetMetaDataReader::new()
                .load_and_finish(self, bytes)
                .await
                .map(Arc::new)
        }
        .boxed()
    }
}

fn encoded_ids(path: &std::path::Path, column: &str) -> Result<Vec<String>, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = only(builder.parquet_schema(), column);
    let mut found = Vec::new();
    for batch in builder.with_projection(mask).build()? {
        found.extend(ids(&batch?));
    }
    Ok(found)
}

fn only(schema: &SchemaDescriptor, column: &str) -> ProjectionMask {
    ProjectionMask::columns(schema, [column])
}

/// The texts of a batch's only column; none where it has no such column.
fn ids(batch: &RecordBatch) -> Vec<String> {
    let Some(column) = batch
        .columns()
        .first()
        .and_then(|column| column.as_string_opt::<i32>())
    else {
        return Vec::new();
    };
    column.iter().flatten().map(str::to_owned).collect()
}
