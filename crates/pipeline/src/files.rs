//! `files`: the files that readers may take, by the manifests.

use answerlake_load::{CurrentFiles, Head};
use answerlake_model::{PartitionKey, PerTable, Table};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::plan::Range;
use crate::reading::Reading;
use crate::report::iso;

/// Partitions looked at together: what is held in memory at a time.
const PARTITIONS_AT_ONCE: usize = 256;

/// The files of a lake, some partitions after the others, in order.
#[derive(Debug)]
pub struct FileList {
    /// The lake.
    pub reading: Reading,
    table: Option<Table>,
    rest: std::vec::IntoIter<(PartitionKey, Head)>,
    /// What was listed so far.
    pub totals: FileTotals,
}

/// What was listed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FileTotals {
    /// Partitions listed, those without files included.
    pub partitions: u64,
    /// Files listed.
    pub files: u64,
    /// Their rows, by table.
    pub rows: PerTable<u64>,
    /// Their bytes.
    pub bytes: u64,
    /// Partitions of which a newer revision is committed than the one listed, as its files are not in place yet.
    pub behind: Vec<UnlistedRevision>,
    /// Partitions of which no revision can be read, and nothing is listed.
    pub unreadable: Vec<UnlistedRevision>,
}

/// A revision whose files are not in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnlistedRevision {
    /// The partition, as its hive path.
    pub partition: String,
    /// The revision.
    pub revision: u64,
}

/// A file that may be read.
#[derive(Debug, Clone, Serialize)]
pub struct ListedFile {
    /// Its table.
    pub table: Table,
    /// Its partition, as its hive path.
    pub partition: String,
    /// The partition's revision that is listed.
    pub revision: u64,
    /// Where it is: an absolute path or an address.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The first `created_at` in it; absent where an older program wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_created_at: Option<String>,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_created_at: Option<String>,
}

impl FileList {
    /// Lists the partitions of a range; the files follow by [`FileList::next`].
    ///
    /// # Errors
    /// As [`Reading::open`].
    pub async fn open(
        config: &PipelineConfig,
        range: &Range,
        table: Option<Table>,
    ) -> Result<Self, PipelineError> {
        let mut reading = Reading::open(config, range).await?;
        let heads: Vec<_> = std::mem::take(&mut reading.heads).into_iter().collect();
        Ok(Self {
            reading,
            table,
            rest: heads.into_iter(),
            totals: FileTotals::default(),
        })
    }

    /// The files of the next partitions; `None` after the last ones.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<ListedFile>>, PipelineError> {
        let heads: Vec<_> = self.rest.by_ref().take(PARTITIONS_AT_ONCE).collect();
        if heads.is_empty() {
            return Ok(None);
        }
        let mut listed = Vec::new();
        for partition in self.reading.lake.current_files(heads).await? {
            self.list(partition, &mut listed);
        }
        Ok(Some(listed))
    }

    fn list(&mut self, partition: CurrentFiles, listed: &mut Vec<ListedFile>) {
        let totals = &mut self.totals;
        let name = partition.key.to_string();
        let newest = UnlistedRevision {
            partition: name.clone(),
            revision: partition.newest,
        };
        let Some(readable) = partition.readable else {
            totals.unreadable.push(newest);
            return;
        };
        if readable.revision < partition.newest {
            totals.behind.push(newest);
        }
        totals.partitions += 1;
        let wanted = |table| self.table.is_none_or(|wanted| wanted == table);
        for file in readable.files.into_iter().filter(|file| wanted(file.table)) {
            totals.files += 1;
            totals.bytes += file.bytes;
            totals.rows[file.table] += file.rows;
            listed.push(ListedFile {
                table: file.table,
                partition: name.clone(),
                revision: readable.revision,
                path: format!("{}/{}", self.reading.location, file.path),
                rows: file.rows,
                bytes: file.bytes,
                sha256: file.sha256,
                first_created_at: file.created_at.map(|span| iso(span.first)),
                last_created_at: file.created_at.map(|span| iso(span.last)),
            });
        }
    }
}
