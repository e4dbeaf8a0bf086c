//! What a commit publishes: one revision of one partition.
//!
//! Manifests are written once and kept for good, and an older program may have to carry on what a newer one wrote.
//! So fields are only ever added, and sections that this program does not know are kept as they are.

use std::collections::{BTreeMap, BTreeSet};

use answerlake_model::{ContentStats, DriftLedger, JobBooks, PartitionBooks, PerTable, RunId};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::data_file::{DataFile, rows_by_table};
use crate::error::LoadError;
use crate::freshness::Freshness;

/// The newest manifest format that this program knows.
pub const MANIFEST_FORMAT_VERSION: u32 = 1;

/// A revision of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of this object.
    pub format_version: u32,
    /// The partition, as its hive path.
    pub partition: String,
    /// The revision's number, from 1.
    pub revision: u64,
    /// Random; tells whose commit this is.
    pub commit_id: String,
    /// The run that committed it.
    pub run_id: RunId,
    /// When that run asked for it, by its own clock.
    pub created_at: DateTime<Utc>,
    /// The version of the program.
    pub program_version: String,
    /// The version of the tables' schema.
    pub schema_version: u32,
    /// A hash over the set of the partition's records.
    pub content_digest: String,
    /// Whether the partition was read before its records had settled.
    pub provisional: bool,
    /// Whether nothing proves that the partition is complete.
    pub partial: bool,
    /// All files of the revision.
    pub files: Vec<DataFile>,
    /// The files of the revision before that go, relative to the lake.
    pub dropped: Vec<String>,
    /// The partition's books.
    pub books: PartitionBooks,
    /// The books of the jobs that the rows came from.
    pub jobs: Vec<JobBooks>,
    /// The files of strays that were joined in, by name; left out where there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub strays: BTreeSet<String>,
    /// How late records came, as far as rereads tell; left out of a partition that was read once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freshness: Option<Freshness>,
    /// What of its records the columns do not hold; left out when that is nothing.
    #[serde(default, skip_serializing_if = "DriftLedger::is_empty")]
    pub drift: DriftLedger,
    /// What its records say in numbers; absent where an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<ContentStats>,
    /// What the orchestrator said of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Sections that this program does not know.
    #[serde(flatten)]
    pub sections: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// The rows of each table.
    pub fn rows(&self) -> PerTable<u64> {
        rows_by_table(&self.files)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is none, or one of a newer format.
    pub fn from_json(path: &Path, json: &[u8]) -> Result<Self, LoadError> {
        check_format_version(path, json, MANIFEST_FORMAT_VERSION)?;
        serde_json::from_slice(json).map_err(|source| LoadError::Malformed {
            path: path.to_string(),
            source,
        })
    }

    /// Writes it.
    pub fn to_json(&self) -> Bytes {
        let json = serde_json::to_vec(self).expect("maps with text keys and finite numbers");
        json.into()
    }
}

/// Looks at the version before the rest, which may have changed its shape.
pub(crate) fn check_format_version(path: &Path, json: &[u8], known: u32) -> Result<(), LoadError> {
    #[derive(Deserialize)]
    struct Versioned {
        format_version: u32,
    }
    let found = serde_json::from_slice::<Versioned>(json)
        .map_err(|source| LoadError::Malformed {
            path: path.to_string(),
            source,
        })?
        .format_version;
    if found > known {
        return Err(LoadError::NewerFormat {
            path: path.to_string(),
            found,
            known,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_says_so_before_its_shape_is_looked_at() {
        let error =
            Manifest::from_json(&Path::from("m.json"), br#"{"format_version":2,"files":7}"#)
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`m.json` in the lake has format version 2: expected at most 1, a newer program wrote it"
        );
        let error = Manifest::from_json(&Path::from("m.json"), b"[]").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`m.json` in the lake is not as this program writes it"
        );
    }
}
