//! Which committed records a proposal would lose, and which it has that came late.
//!
//! A source that answers with fewer records than it did before has deleted them, or has failed. Told apart by id, not
//! by number: a record that went while another came is lost all the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use answerlake_model::Table;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use crate::column_reader::read_error;
use crate::commit::{Proposal, as_of};
use crate::data_file::DataFile;
use crate::error::LoadError;
use crate::file_reader::StoredFile;
use crate::freshness::{LateRecords, add_late};
use crate::lake::Lake;
use crate::manifest::Manifest;
use crate::store::run_blocking;

/// Ids that are compared at once; of more, the files are read several times.
const IDS_AT_ONCE: u64 = 200_000;

/// The column of the records' times, in every table.
const CREATED_AT: &str = "created_at";

/// Records that the partition holds and a proposal does not bring.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LostRecords {
    /// How many; at least 1.
    pub(crate) count: u64,
    /// The id of one of them.
    pub(crate) example: String,
}

/// What a proposal lacks of what the partition holds, and what it has beyond that.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) lost: Option<LostRecords>,
    /// Records that were not there when the partition was read before, by table.
    pub(crate) late: BTreeMap<Table, LateRecords>,
}

impl Lake {
    /// Compares the records of a revision, as far as it names their files, with those that the proposal brings, by id, under any event.
    ///
    /// One partition at a time: the ids of many would be too much for the memory of a run.
    pub(crate) async fn compare_records(
        &self,
        committed: &Manifest,
        proposal: &Proposal,
    ) -> Result<Compared, LoadError> {
        let _alone = self
            .comparing
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let held: Vec<_> = committed
            .files
            .iter()
            .filter_map(|file| Some((file, proposal.record_id_columns[file.table]?)))
            .collect();
        let rows: u64 = held.iter().map(|(file, _)| file.rows).sum();
        let classes = rows.div_ceil(IDS_AT_ONCE).max(1);
        let read_before = as_of(&committed.jobs);
        let mut compared = Compared::default();
        for class in 0..classes {
            let mut ids = BTreeSet::new();
            for (file, column) in &held {
                let read = self.collect_committed_ids(file, column, (class, classes), &mut ids);
                read.await.map_err(|error| read_error(&file.path, error))?;
            }
            let found = look_at_brought(ids, proposal, (class, classes), read_before).await?;
            add_late(&mut compared.late, &found.late);
            if let Some(lost) = found.lost {
                compared.lost = Some(LostRecords {
                    count: compared.lost.as_ref().map_or(0, |lost| lost.count) + lost.count,
                    example: compared.lost.map_or(lost.example, |lost| lost.example),
                });
            }
        }
        Ok(compared)
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

/// Compares the ids of one class with those that a proposal brings.
async fn look_at_brought(
    ids: BTreeSet<String>,
    proposal: &Proposal,
    class: (u64, u64),
    read_before: Option<DateTime<Utc>>,
) -> Result<Compared, LoadError> {
    let files: Vec<(Table, PathBuf, &'static str)> = proposal
        .files
        .iter()
        .filter_map(|file| {
            let column = proposal.record_id_columns[file.table]?;
            Some((file.table, file.path.clone(), column))
        })
        .collect();
    run_blocking(move || {
        let mut held: HashMap<String, bool> = ids.into_iter().map(|id| (id, false)).collect();
        let mut compared = Compared::default();
        for (table, path, column) in files {
            let late = compared.late.entry(table).or_default();
            let read = look_at_file(&path, column, class, read_before, &mut held, late);
            read.map_err(|source| LoadError::ReadData {
                path: path.display().to_string(),
                source,
            })?;
        }
        let mut lost = held.into_iter().filter(|(_, is_brought)| !is_brought);
        if let Some((first, _)) = lost.next() {
            let (mut count, mut example) = (1, first);
            for (id, _) in lost {
                count += 1;
                example = example.min(id);
            }
            compared.lost = Some(LostRecords { count, example });
        }
        Ok(compared)
    })
    .await
}

/// The class of an id, of so many.
fn class_of(id: &str, classes: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() % classes
}

/// Marks those of `held` that a file has, and counts those that it has beside them.
fn look_at_file(
    path: &std::path::Path,
    column: &str,
    (class, classes): (u64, u64),
    read_before: Option<DateTime<Utc>>,
    held: &mut HashMap<String, bool>,
    late: &mut LateRecords,
) -> Result<(), ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), [column, CREATED_AT]);
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        let times = batch
            .column_by_name(CREATED_AT)
            .and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        for (row, id) in texts_of(&batch, column).enumerate() {
            let Some(id) = id.filter(|id| class_of(id, classes) == class) else {
                continue;
            };
            if let Some(is_brought) = held.get_mut(id) {
                *is_brought = true;
                continue;
            }
            let made = times.and_then(|times| DateTime::from_timestamp_micros(times.value(row)));
            if let (Some(made), Some(read_before)) = (made, read_before) {
                late.add(read_before - made);
            }
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

/// The texts of a column, row by row; none where there is no such column.
fn texts_of<'b>(batch: &'b RecordBatch, column: &str) -> impl Iterator<Item = Option<&'b str>> {
    let column = batch.column_by_name(column);
    let texts = column.and_then(|column| column.as_string_opt::<i32>());
    texts.into_iter().flat_map(|texts| texts.iter())
}
