//! What can be wrong with a fragment as a whole, with rows that records are restored from, and with policies. What is
//! wrong with one record makes a dead letter instead.

use std::error::Error;
use std::io;

use answerlake_model::Table;

use crate::privacy::Policy;

/// A fragment that cannot be cut into records; it fails its window, for what it held is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// The bytes could not be read.
    #[error("the fragment cannot be read")]
    Read(#[source] io::Error),
    /// What it is compressed with ends early, or is damaged.
    #[error("the fragment is cut short or damaged: its compression cannot be undone")]
    Compression(#[source] io::Error),
    /// It is no JSON array, no lines of JSON and no object around an array.
    #[error("the fragment is no export: expected a JSON array of records, got `{found}`")]
    NotAnExport {
        /// How it begins, at most 80 characters.
        found: String,
    },
    /// It ends inside the array.
    #[error(
        "the fragment is cut short: it ends after {records} whole records and {bytes} bytes, before its closing bracket"
    )]
    CutShort {
        /// Records delimited before the end.
        records: u64,
        /// Bytes read.
        bytes: u64,
    },
    /// The object around the array holds another array.
    #[error(
        "the fragment is no export: expected one array of records in an object, got a second one at byte {at}"
    )]
    SecondArray {
        /// Offset of its bracket.
        at: u64,
    },
    /// Something follows the closing bracket.
    #[error("the fragment goes on after its closing bracket, at byte {at}, with `{found}`")]
    TrailingData {
        /// Offset of the first such byte.
        at: u64,
        /// How it goes on, at most 80 characters.
        found: String,
    },
}

impl FragmentError {
    /// Whether fetching the fragment again may help.
    pub fn is_retryable(&self) -> bool {
        // A body that went wrong on the way looks like any of these; only our own disk does not.
        !matches!(self, Self::Read(_))
    }
}

/// Rows from which the records they were made of cannot be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The next batch of a table could not be had.
    #[error("the rows of table `{table}` cannot be read")]
    Read {
        /// The table.
        table: Table,
        /// What its reader says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A table lacks a column, or has it with another type.
    #[error("table `{table}`: column `{column}`: expected {expected}, got {found}")]
    Column {
        /// The table.
        table: Table,
        /// The column.
        column: &'static str,
        /// The type it has in the schema.
        expected: &'static str,
        /// The type it has.
        found: String,
    },
    /// A row holds what no record gives it.
    #[error("table `{table}`, row {row}, query `{query}`: {what}")]
    Row {
        /// The table.
        table: Table,
        /// Its place in the table, from 1.
        row: u64,
        /// The search it belongs to, or its record's own id.
        query: String,
        /// What is wrong with it.
        what: String,
    },
    /// A row belongs to no search, or stands elsewhere than the search's place in `queries` tells.
    #[error(
        "table `{table}`, row {row}, query `{query}`: expected the rows of a search in the order of table `queries`, \
         got a row that belongs to none"
    )]
    Orphan {
        /// The table.
        table: Table,
        /// Its place in the table, from 1.
        row: u64,
        /// The search it names.
        query: String,
    },
    /// A search has fewer rows in another table than it counts.
    #[error("table `{table}`, query `{query}`: expected {what}")]
    Missing {
        /// The table that lacks them.
        table: Table,
        /// The search.
        query: String,
        /// How many are missing.
        what: String,
    },
}

/// Policies that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A name that the vendor does not document.
    #[error("no field is called `{name}`; there are {known}")]
    UnknownField {
        /// The name.
        name: String,
        /// All that can have a policy.
        known: String,
    },
    /// A policy that the field cannot have.
    #[error("`{field}`: expected {allowed}{reason}, got `{policy}`")]
    NotForField {
        /// The field.
        field: &'static str,
        /// What it can have.
        allowed: String,
        /// What it was given.
        policy: Policy,
        /// Why so.
        reason: &'static str,
    },
    /// A text that is masked would still stand in another.
    #[error(
        "`{field}` is masked, and its text stands in {places} too: expected a policy there as well, if only `keep`"
    )]
    Undecided {
        /// The field that is masked.
        field: &'static str,
        /// The fields of which nothing is said.
        places: String,
    },
    /// Something is to be hashed, and there is no key.
    #[error("expected a key, since something is to be hashed")]
    NoKey,
    /// A key that can be guessed.
    #[error("expected a key of at least {min_bytes} bytes, got {bytes} bytes")]
    ShortKey {
        /// The least.
        min_bytes: usize,
        /// Its length.
        bytes: usize,
    },
}
