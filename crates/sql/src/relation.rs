//! Files as DuckDB reads them.
//!
//! Columns are named one by one: folders above the lake that look like hive columns (`env=prod`) are none of its own.

use std::fmt::Write;

use answerlake_model::Table;

use crate::engine::Engine;
use crate::table::{PathColumn, file_columns, names};
use crate::target::Target;

/// A file's path or address as a pattern that matches it alone.
fn verbatim(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        match letter {
            '*' | '?' | '[' => {
                pattern.push('[');
                pattern.push(letter);
                pattern.push(']');
            }
            letter => pattern.push(letter),
        }
    }
    pattern
}

/// The pattern of a table's files, with either grain.
pub(crate) fn pattern(location: &str, table: Table) -> String {
    format!("{}/{table}/app_id=*/dt=*/**/*.parquet", verbatim(location))
}

/// A file of the lake as an element of DuckDB's lists.
pub fn file_literal(path: &str) -> String {
    Engine::DuckDb.literal(&verbatim(path))
}

/// What stands before the first file in a `SELECT` of some files.
pub fn select_begin(table: Table, target: &Target) -> String {
    format!(
        "SELECT {}\nFROM read_parquet([",
        names(table, target).join(", ")
    )
}

/// What stands after the last one.
pub fn select_end(target: &Target) -> String {
    format!("], {})", hive_options(target))
}

/// A `SELECT` of all files that there will be.
pub(crate) fn select_pattern(location: &str, table: Table, target: &Target) -> String {
    format!(
        "SELECT {}\nFROM read_parquet({}, {})",
        names(table, target).join(", "),
        Engine::DuckDb.literal(&pattern(location, table)),
        hive_options(target)
    )
}

/// A `SELECT` of no rows, with the columns and types of the table: where there is no file, DuckDB has none to read them
/// from.
pub fn select_nothing(table: Table, target: &Target) -> String {
    let mut columns = Vec::new();
    for column in file_columns(table, target) {
        let kind = Engine::DuckDb.type_of(column.kind);
        columns.push(format!("NULL::{kind} AS {}", column.name));
    }
    for column in PathColumn::of(target.grain) {
        let kind = column.type_of(Engine::DuckDb);
        columns.push(format!("NULL::{kind} AS {}", column.name()));
    }
    format!("SELECT {}\nWHERE false", columns.join(", "))
}

fn hive_options(target: &Target) -> String {
    // An app's id may look like a number, or a date.
    let mut types = String::new();
    for column in PathColumn::of(target.grain) {
        let separator = if types.is_empty() { "" } else { ", " };
        let kind = column.type_of(Engine::DuckDb);
        // Writing to a string cannot fail.
        let _ = write!(types, "{separator}'{}': {kind}", column.name());
    }
    format!("hive_partitioning = true, hive_types = {{{types}}}")
}
