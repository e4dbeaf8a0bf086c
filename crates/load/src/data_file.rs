//! A data file as a manifest names it.

use answerlake_model::{PerTable, Table};
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
    /// Where it comes from.
    pub origin: Origin,
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

/// The rows of each table in `files`.
pub fn rows_by_table(files: &[DataFile]) -> PerTable<u64> {
    let mut rows = PerTable::default();
    for file in files {
        rows[file.table] += file.rows;
    }
    rows
}
