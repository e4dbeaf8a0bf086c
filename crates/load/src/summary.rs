//! What is committed, in brief: for who looks at many partitions at once, to plan or to show them.
//!
//! A manifest is read for a few of its fields only, and the rest of it skipped: a lake of three years and twenty apps
//! is looked through in well under a second.

use std::collections::{BTreeMap, BTreeSet};

use answerlake_model::{
    AppId, Grain, JobBooks, PartitionBooks, PartitionKey, PerTable, Table, Window,
};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::Deserialize;

use crate::error::LoadError;
use crate::freshness::Freshness;
use crate::lake::{Head, Lake, PartitionState};
use crate::location;
use crate::manifest::{MANIFEST_FORMAT_VERSION, check_format_version};
use crate::store::all;

/// What is committed of a partition, in brief.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionSummary {
    /// The newest revision.
    pub revision: u64,
    /// When it was committed, by the clock of who did.
    pub committed_at: DateTime<Utc>,
    /// Whether its files are in place.
    pub published: bool,
    /// Whether it was read before its records had settled.
    pub provisional: bool,
    /// Whether nothing proves that it is complete.
    pub partial: bool,
    /// The final paths of files that are neither staged nor in place.
    pub missing: Vec<String>,
    /// Its records.
    pub records: u64,
    /// The rows of each table.
    pub rows: PerTable<u64>,
    /// The bytes of its files.
    pub bytes: u64,
    /// The books of the jobs that the rows came from.
    pub jobs: Vec<JobBooks>,
    /// The files of strays that were joined in, by name.
    pub strays: BTreeSet<String>,
    /// How late records came, as far as rereads tell.
    pub freshness: Option<Freshness>,
}

impl PartitionSummary {
    /// Whether the revision cannot be published any more: the partition is to be committed again.
    pub fn is_broken(&self) -> bool {
        !self.missing.is_empty()
    }
}

/// The part of a manifest that a summary needs.
#[derive(Deserialize)]
struct Brief {
    format_version: u32,
    created_at: DateTime<Utc>,
    provisional: bool,
    partial: bool,
    files: Vec<BriefFile>,
    books: PartitionBooks,
    jobs: Vec<JobBooks>,
    #[serde(default)]
    strays: BTreeSet<String>,
    freshness: Option<Freshness>,
}

#[derive(Deserialize)]
struct BriefFile {
    table: Table,
    rows: u64,
    bytes: u64,
}

impl Lake {
    /// The newest revision of each partition, of one app or of all, by a listing alone. With `since`, partitions of
    /// earlier days may be left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn heads(
        &self,
        app_id: Option<&AppId>,
        since: Option<&PartitionKey>,
    ) -> Result<BTreeMap<PartitionKey, Head>, LoadError> {
        let folder = app_id.map_or_else(location::commits, location::app_commits);
        let offset = since.map(location::day_commits);
        self.list_heads(&folder, offset.as_ref()).await
    }

    /// What is committed of the app's partitions of `grain` that overlap `window`: one listing, and one small read a
    /// partition.
    ///
    /// # Errors
    /// As [`Lake::state`].
    pub async fn states(
        &self,
        app_id: &AppId,
        window: &Window,
        grain: Grain,
    ) -> Result<BTreeMap<PartitionKey, PartitionSummary>, LoadError> {
        let first = PartitionKey::new(app_id.clone(), window.start(), grain);
        let mut heads = self.heads(Some(app_id), Some(&first)).await?;
        heads.retain(|key, _| {
            key.grain() == grain && first.start() <= key.start() && key.start() < window.end()
        });
        self.summaries(heads).await
    }

    /// What is committed of the partitions that a listing showed.
    ///
    /// # Errors
    /// As [`Lake::state`].
    pub async fn summaries(
        &self,
        heads: BTreeMap<PartitionKey, Head>,
    ) -> Result<BTreeMap<PartitionKey, PartitionSummary>, LoadError> {
        let (published, unpublished): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|(_, head)| head.published);
        let briefs = self.read_manifests(&published, Brief::from_json).await?;
        let mut summaries = BTreeMap::new();
        for ((key, head), brief) in published.into_iter().zip(briefs) {
            let brief = brief.ok_or_else(|| Self::lost_manifest(&key, head.revision))?;
            summaries.insert(key, brief.summary(head.revision));
        }
        let states = unpublished.into_iter().map(async |(key, head)| {
            let state = self.read_state(&key, head).await?;
            Ok((key, PartitionSummary::from(state)))
        });
        summaries.extend(all(states.collect()).await?);
        Ok(summaries)
    }
}

impl Brief {
    fn from_json(path: &Path, json: &[u8]) -> Result<Self, LoadError> {
        match serde_json::from_slice::<Self>(json) {
            Ok(brief) if brief.format_version <= MANIFEST_FORMAT_VERSION => Ok(brief),
            // Of a newer format, the version says more than what its shape lacks.
            read => {
                check_format_version(path, json, MANIFEST_FORMAT_VERSION)?;
                read.map_err(|source| LoadError::Malformed {
                    path: path.to_string(),
                    source,
                })
            }
        }
    }

    fn summary(self, revision: u64) -> PartitionSummary {
        let mut rows = PerTable::default();
        for file in &self.files {
            rows[file.table] += file.rows;
        }
        PartitionSummary {
            revision,
            committed_at: self.created_at,
            published: true,
            provisional: self.provisional,
            partial: self.partial,
            missing: Vec::new(),
            records: self.books.written,
            rows,
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            jobs: self.jobs,
            strays: self.strays,
            freshness: self.freshness,
        }
    }
}

impl From<PartitionState> for PartitionSummary {
    fn from(state: PartitionState) -> Self {
        let manifest = state.manifest;
        Self {
            revision: state.revision,
            committed_at: manifest.created_at,
            published: state.published,
            provisional: manifest.provisional,
            partial: manifest.partial,
            missing: state.missing,
            records: manifest.books.written,
            rows: manifest.rows(),
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            jobs: manifest.jobs,
            strays: manifest.strays,
            freshness: manifest.freshness,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_says_so_before_its_shape_is_looked_at() {
        for json in [&br#"{"format_version":2,"files":7}"#[..], br#"{"format_version":2,"created_at":"2025-06-28T00:00:00Z","provisional":false,"partial":false,"files":[],"jobs":[],"books":{"assigned":0,"written":0,"duplicates":0,"dead_letters":0,"conflicts":0}}"#] {
            let read = Brief::from_json(&Path::from("m.json"), json);
            assert!(matches!(read, Err(LoadError::NewerFormat { found: 2, .. })));
        }
        let read = Brief::from_json(&Path::from("m.json"), b"[]");
        assert!(matches!(read, Err(LoadError::Malformed { .. })));
    }
}
