//! `restore`: the records of committed partitions, written back out of the lake.
//!
//! Each partition proves itself: the digest of what was restored must be the one in its manifest. What waits for the
//! store runs ahead by a batch a table, what restores and writes has a thread of its own; so memory holds a batch of
//! each table, one record, and sixteen bytes a record of the partition in hand.

use std::io::{self, Write};

use answerlake_load::{Lake, LakePin, LakeStore, LoadError, MaskingPin, PartitionState};
use answerlake_model::{PartitionKey, PerTable};
use answerlake_transform::{Restorer, content_digest};
use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::Range;

/// Rows of a batch: a call of the language model may take some hundred kilobytes.
const BATCH_ROWS: usize = 64;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreFormat {
    /// A record a line.
    Ndjson,
    /// One array, a record a line, as the export API serves it.
    Json,
}

/// What was restored.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RestoreReport {
    /// Partitions with a commit in the range.
    pub partitions: u64,
    /// Records written.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// What the lake never held, and so cannot give back; absent where it holds all that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingPin>,
}

/// Writes the records of all partitions committed in the range, of one app or of all, to `out`.
///
/// # Errors
/// When the range is none, the lake cannot be read, or what it holds is not what was committed. What was written until
/// then stays.
pub async fn restore<W: Write + Send + 'static>(
    config: &PipelineConfig,
    range: &Range,
    format: RestoreFormat,
    out: W,
) -> Result<RestoreReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?.ok_or_else(|| PipelineError::NoLake {
        url: config.lake.url.clone(),
    })?;
    let keys = committed(&lake, &pin, config, range).await?;
    let mut writer = RecordWriter::new(out, format);
    let mut report = RestoreReport::default();
    if let Some(masking) = pin.masking {
        tracing::warn!(
            fields = masking.to_string(),
            "records are restored as they landed: what is masked in this lake cannot be given back"
        );
        report.masking = Some(masking);
    }
    for key in keys {
        if let Some(state) = lake.state(&key).await? {
            writer = restore_partition(&lake, &key, state, writer).await?;
        }
        report.partitions += 1;
    }
    report.records = writer.records;
    report.bytes = writer.finish().map_err(PipelineError::Output)?;
    Ok(report)
}

/// The partitions that are committed in the range; without one, all.
async fn committed(
    lake: &Lake,
    pin: &LakePin,
    config: &PipelineConfig,
    range: &Range,
) -> Result<Vec<PartitionKey>, PipelineError> {
    let grain = pin.grain;
    let heads = lake.heads(config.app_id.as_ref(), None).await?;
    let mut keys: Vec<PartitionKey> = heads.into_keys().collect();
    keys.retain(|key| key.grain() == grain);
    let starts = || keys.iter().map(PartitionKey::start);
    let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
        return Ok(keys);
    };
    let until: DateTime<Utc> = last + grain.duration();
    let window = range.resolve(grain, Some(first), until)?;
    keys.retain(|key| window.contains(key.start()));
    Ok(keys)
}

/// Writes the records of a partition, and checks that they are those that were committed.
pub(crate) async fn restore_partition<W: Write + Send + 'static>(
    lake: &Lake,
    key: &PartitionKey,
    state: PartitionState,
    mut writer: RecordWriter<W>,
) -> Result<RecordWriter<W>, PipelineError> {
    if !state.published {
        return Err(PipelineError::Unpublished {
            partition: key.clone(),
        });
    }
    let mut files = PerTable::<Vec<_>>::default();
    for file in state.manifest.files {
        files[file.table].push(file);
    }
    let sources = PerTable::from_fn(|table| {
        let batches = lake.read_files(std::mem::take(&mut files[table]), BATCH_ROWS);
        ahead(batches)
    });
    let expected = state.manifest.content_digest;
    let key = key.clone();
    let written = tokio::task::spawn_blocking(move || {
        let failed = |source| PipelineError::Restore {
            partition: key.clone(),
            source,
        };
        let mut hashes = Vec::new();
        for record in Restorer::new(sources) {
            let record = record.map_err(failed)?;
            writer.write(&record.json).map_err(PipelineError::Output)?;
            hashes.push(record.hash);
        }
        let found = content_digest(hashes);
        if found != expected {
            return Err(PipelineError::OtherContent {
                partition: key,
                expected,
                found,
            });
        }
        Ok(writer)
    });
    written.await.map_err(|error| PipelineError::Unexpected {
        reason: format!("restoring a partition ended early: {error}"),
    })?
}

/// Reads batches a step ahead of who takes them, on the runtime.
fn ahead(
    batches: impl futures::Stream<Item = Result<RecordBatch, LoadError>> + Send + 'static,
) -> impl Iterator<Item = Result<RecordBatch, LoadError>> + Send {
    let (sender, mut receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut batches = std::pin::pin!(batches);
        while let Some(batch) = batches.next().await {
            if sender.send(batch).await.is_err() {
                // Whoever took them has failed, and says so.
                return;
            }
        }
    });
    std::iter::from_fn(move || receiver.blocking_recv())
}

/// Writes records in a format.
pub(crate) struct RecordWriter<W> {
    out: W,
    format: RestoreFormat,
    records: u64,
    bytes: u64,
}

impl<W: Write> RecordWriter<W> {
    pub(crate) fn new(out: W, format: RestoreFormat) -> Self {
        Self {
            out,
            format,
            records: 0,
            bytes: 0,
        }
    }

    fn write(&mut self, json: &str) -> io::Result<()> {
        let before = match (self.format, self.records) {
            (RestoreFormat::Ndjson, _) => "",
            (RestoreFormat::Json, 0) => "[\n",
            (RestoreFormat::Json, _) => ",\n",
        };
        let after = match self.format {
            RestoreFormat::Ndjson => "\n",
            RestoreFormat::Json => "",
        };
        self.records += 1;
        self.put(before)?;
        self.put(json)?;
        self.put(after)
    }

    /// Ends it; gives the number of bytes.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        match (self.format, self.records) {
            (RestoreFormat::Ndjson, _) => {}
            (RestoreFormat::Json, 0) => self.put("[]\n")?,
            (RestoreFormat::Json, _) => self.put("\n]\n")?,
        }
        self.out.flush()?;
        Ok(self.bytes)
    }

    fn put(&mut self, text: &str) -> io::Result<()> {
        self.bytes += text.len() as u64;
        self.out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines_or_elements() {
        let written = |format, records: &[&str]| {
            let mut bytes = Vec::new();
            let mut writer = RecordWriter::new(&mut bytes, format);
            for record in records {
                writer.write(record).unwrap();
            }
            let count = writer.finish().unwrap();
            assert_eq!(count, bytes.len() as u64);
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(written(RestoreFormat::Ndjson, &[]), "");
        assert_eq!(written(RestoreFormat::Ndjson, &["1", "2"]), "1\n2\n");
        assert_eq!(written(RestoreFormat::Json, &[]), "[]\n");
        assert_eq!(written(RestoreFormat::Json, &["1", "2"]), "[\n1,\n2\n]\n");
    }
}
