//! A data file as a manifest names it.

use answerlake_model::{PerTable, Table};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One finished Parquet file of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its table.
    pub table: Table,
    /// Its final path, relative to the lake.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// The times of its rows; absent for files of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<TimeSpan>,
    /// Where it comes from.
    pub origin: Origin,
}

/// From the first to the last of some times, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSpan {
    /// The first.
    pub first: DateTime<Utc>,
    /// The last.
    pub last: DateTime<Utc>,
}

/// Where a revision has a file from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It is new, and was staged.
    Staged {
        /// Where it was staged, relative to the lake.
        path: String,
    },
    /// The revision before has it too.
    CarriedOver,
}

impl DataFile {
    /// Where it was staged; `None` for one carried over.
    pub fn staged_path(&self) -> Option<&str> {
        match &self.origin {
            Origin::Staged { path } => Some(path),
            Origin::CarriedOver => None,
        }
    }
}

impl TimeSpan {
    /// Of microseconds since 1970; `None` for what is no time.
    pub(crate) fn of_micros(first: i64, last: i64) -> Option<Self> {
        Some(Self {
            first: DateTime::from_timestamp_micros(first)?,
            last: DateTime::from_timestamp_micros(last)?,
        })
    }
}

/// The rows of each table in `files`.
pub fn rows_by_table(files: &[DataFile]) -> PerTable<u64> {
    let mut rows = PerTable::default();
    for file in files {
        rows[file.table] += file.rows;
    }
    rows
}
