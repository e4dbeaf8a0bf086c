//! `restore`: the records of committed partitions, written back out of the lake.
//!
//! Each partition proves itself: the digest of what was restored must be the one in its manifest. All files of a partition
//! are held before the first record of it is written ([`answerlake_load::held_files`]): a run that replaces it meanwhile
//! takes nothing away, and no record is written twice or not at all. A table's batches are read ahead of their use, each
//! by a thread of its own; so memory holds two batches of each table, one record, and the hashes that fit in some
//! megabytes; the others wait in scratch.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use answerlake_load::{
    HeldFiles, Lake, LakePin, LakeStore, MaskingPin, ObjectUpload, PartitionState,
};
use answerlake_model::PartitionKey;
use answerlake_transform::Restorer;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::bridge::on_its_own_thread;
use crate::config::PipelineConfig;
use crate::content_hashes::ContentHashes;
use crate::error::PipelineError;
use crate::plan::Range;
use crate::scratch::Scratch;

/// Rows of a batch: a call of the language model may take some hundred kilobytes.
pub(crate) const BATCH_ROWS: usize = 64;

/// Hashes that are in memory at once: 16 MiB.
const HELD_HASHES: usize = 1 << 20;

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

/// What is restored, and how.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The partitions that are restored; without an end, all that are committed.
    pub range: Range,
    /// How records are written.
    pub format: RestoreFormat,
    /// Scratch, where the settings name none.
    pub default_scratch: PathBuf,
    /// Cancelled when the work is to stop.
    pub stop: CancellationToken,
}

/// Writes the records of all partitions committed in the range, of one app or of all, to the object at `url`: whole or
/// not at all.
///
/// # Errors
/// As [`restore`], and when the object cannot be written.
pub async fn restore_to_object(
    config: &PipelineConfig,
    request: &RestoreRequest,
    url: &str,
) -> Result<RestoreReport, PipelineError> {
    let (writer, upload) = ObjectUpload::begin(config.lake.url.beside(url)).await?;
    match restore(config, request, writer).await {
        Ok(report) => {
            upload.finish().await?;
            Ok(report)
        }
        Err(error) => match (upload.abort().await, error) {
            // Why nothing could be written any more, the upload knows.
            (Err(cause), PipelineError::Output(_)) => Err(cause.into()),
            (Err(cause), error) => {
                tracing::warn!(
                    error = crate::error::chain(&cause),
                    "what was uploaded cannot be withdrawn"
                );
                Err(error)
            }
            (Ok(()), error) => Err(error),
        },
    }
}

/// Writes the records of all partitions committed in the range, of one app or of all, to `out`.
///
/// # Errors
/// When the range is none, the lake cannot be read, or what it holds is not what was committed. What was written until
/// then stays.
pub async fn restore<W: Write + Send + 'static>(
    config: &PipelineConfig,
    request: &RestoreRequest,
    out: W,
) -> Result<RestoreReport, PipelineError> {
    let work = restore_all(config, request, out);
    tokio::select! {
        biased;
        () = request.stop.cancelled() => Err(PipelineError::Stopped),
        done = work => done,
    }
}

async fn restore_all<W: Write + Send + 'static>(
    config: &PipelineConfig,
    request: &RestoreRequest,
    out: W,
) -> Result<RestoreReport, PipelineError> {
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    let pin = lake.pinned().await?.ok_or_else(|| PipelineError::NoLake {
        url: config.lake.url.to_string(),
    })?;
    let keys = committed(&lake, &pin, config, &request.range).await?;
    let configured = config.run.scratch.as_deref();
    let scratch = Scratch::try_new(configured.unwrap_or(&request.default_scratch))?;
    let mut writer = RecordWriter::new(out, request.format);
    let mut report = RestoreReport::default();
    if let Some(masking) = pin.masking {
        tracing::warn!(
            fields = masking.to_string(),
            "records are restored as they landed: what is masked in this lake cannot be given back"
        );
        report.masking = Some(masking);
    }
    for key in keys {
        let folder = scratch.subfolder()?;
        if let Some((state, files)) = lake.hold_newest(&key, folder.path()).await? {
            writer = restore_partition(&key, &state, files, folder.path(), writer).await?;
        }
        report.partitions += 1;
    }
    report.records = writer.records;
    let finished = on_its_own_thread(move || writer.finish().map_err(PipelineError::Output));
    report.bytes = finished.await?;
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

/// Writes the records of a partition, and checks that they are those that were committed. Hashes that are too many for
/// memory wait in `folder`.
pub(crate) async fn restore_partition<W: Write + Send + 'static>(
    key: &PartitionKey,
    state: &PartitionState,
    files: HeldFiles,
    folder: &Path,
    mut writer: RecordWriter<W>,
) -> Result<RecordWriter<W>, PipelineError> {
    let sources = files.into_batches(BATCH_ROWS).map(ahead);
    let expected = state.manifest.content_digest.clone();
    let mut hashes = ContentHashes::new(folder, HELD_HASHES);
    let key = key.clone();
    on_its_own_thread(move || {
        let failed = |source| PipelineError::Restore {
            partition: key.clone(),
            source,
        };
        for record in Restorer::new(sources) {
            let record = record.map_err(failed)?;
            writer.write(&record.json).map_err(PipelineError::Output)?;
            hashes.add(&key, record.hash)?;
        }
        let found = hashes.digest(&key)?;
        if found != expected {
            return Err(PipelineError::OtherContent {
                partition: key,
                expected,
                found,
            });
        }
        Ok(writer)
    })
    .await
}

/// Takes items a step ahead of who asks for them, on a thread of its own.
pub(crate) fn ahead<T: Send + 'static>(
    items: impl Iterator<Item = T> + Send + 'static,
) -> impl Iterator<Item = T> + Send {
    let (sender, receiver) = mpsc::sync_channel(1);
    tokio::task::spawn_blocking(move || {
        for item in items {
            if sender.send(item).is_err() {
                // Whoever took them has failed, and says so.
                return;
            }
        }
    });
    receiver.into_iter()
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
