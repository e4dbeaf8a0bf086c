//! Statements that bring partitions into a warehouse: each is deleted and loaded again in one transaction.
//!
//! Whatever was loaded of a partition before, once or twice, whole or not: after its transaction the warehouse holds
//! just what the files say. So a load may be repeated at will.

use std::fmt::Write;

use answerlake_model::{PartitionKey, Table};

use crate::ddl::{FILE_FORMAT, STAGE, own_table, prelude, snowflake_columns};
use crate::engine::Engine;
use crate::relation::file_literal;
use crate::table::{PathColumn, file_columns};
use crate::target::Target;

/// The most files that Snowflake takes in one `COPY`.
const SNOWFLAKE_FILES: usize = 1000;

/// A partition to be brought into a warehouse.
#[derive(Debug, Clone)]
pub struct PartitionLoad<'a> {
    /// The partition.
    pub key: &'a PartitionKey,
    /// What is said of it, in a comment.
    pub about: String,
    /// The tables whose files are others than before.
    pub tables: Vec<TableLoad>,
}

/// The files of one table of it, all of them; none where it has no rows now.
#[derive(Debug, Clone)]
pub struct TableLoad {
    /// The table.
    pub table: Table,
    /// The files, relative to the lake.
    pub files: Vec<String>,
}

/// Creates the tables that loads go to, where they are not there yet.
pub fn create_tables(target: &Target, location: &str) -> String {
    let mut sql = String::new();
    for statement in prelude(target, location) {
        // Writing to a string cannot fail.
        let _ = writeln!(sql, "{statement};");
    }
    for table in Table::ALL {
        let _ = writeln!(sql, "{};", own_table(table, target, &Default::default()));
    }
    sql
}

/// Deletes and loads a partition, in one transaction.
pub fn load(partition: &PartitionLoad<'_>, target: &Target, location: &str) -> String {
    let mut sql = format!("-- {}\n", partition.about);
    if target.engine == Engine::BigQuery {
        // A load is none of the statements that BigQuery allows inside of a transaction.
        for table in partition
            .tables
            .iter()
            .filter(|table| !table.files.is_empty())
        {
            let _ = writeln!(sql, "{};", to_temporary_table(table, location));
        }
    }
    let (begin, commit) = match target.engine {
        Engine::BigQuery => ("BEGIN TRANSACTION", "COMMIT TRANSACTION"),
        _ => ("BEGIN TRANSACTION", "COMMIT"),
    };
    let _ = writeln!(sql, "{begin};");
    for table in &partition.tables {
        let _ = writeln!(sql, "{};", delete(table.table, partition.key, target));
        for statement in insert(table, partition.key, target, location) {
            let _ = writeln!(sql, "{statement};");
        }
    }
    let _ = writeln!(sql, "{commit};");
    sql
}

fn delete(table: Table, key: &PartitionKey, target: &Target) -> String {
    // The partition's own columns, whatever the lake's are now.
    let conditions: Vec<_> = PathColumn::of(key.grain())
        .iter()
        .map(|column| format!("{} = {}", column.name(), column.value(key, target.engine)))
        .collect();
    format!(
        "DELETE FROM {} WHERE {}",
        target.full_name(table.name()),
        conditions.join(" AND ")
    )
}

fn insert(table: &TableLoad, key: &PartitionKey, target: &Target, location: &str) -> Vec<String> {
    if table.files.is_empty() {
        return Vec::new();
    }
    match target.engine {
        Engine::Snowflake => table
            .files
            .chunks(SNOWFLAKE_FILES)
            .map(|files| copy_into(table.table, files, key, target))
            .collect(),
        engine => {
            let files = match engine {
                Engine::BigQuery => temporary_name(table.table),
                _ => {
                    let files = table.files.iter();
                    let files: Vec<_> = files
                        .map(|file| file_literal(&format!("{location}/{file}")))
                        .collect();
                    format!(
                        "read_parquet([{}], hive_partitioning = false)",
                        files.join(", ")
                    )
                }
            };
            let names = file_columns(table.table, target)
                .iter()
                .map(|column| column.name.to_owned());
            let (mut columns, mut values): (Vec<_>, Vec<_>) =
                names.map(|name| (name.clone(), name)).unzip();
            for column in PathColumn::of(key.grain()) {
                columns.push(column.name().to_owned());
                values.push(column.value(key, engine));
            }
            vec![format!(
                "INSERT INTO {} ({})\nSELECT {}\nFROM {files}",
                target.full_name(table.table.name()),
                columns.join(", "),
                values.join(", ")
            )]
        }
    }
}

fn copy_into(table: Table, files: &[String], key: &PartitionKey, target: &Target) -> String {
    let (mut columns, mut values) = snowflake_columns(table, target);
    for column in PathColumn::of(key.grain()) {
        columns.push(column.name());
        values.push(column.value(key, target.engine));
    }
    let folder = format!("{table}/{key}/");
    let files: Vec<_> = files
        .iter()
        .map(|file| {
            let name = file.strip_prefix(folder.as_str()).unwrap_or(file);
            target.engine.literal(name)
        })
        .collect();
    // What was loaded before is loaded again: its rows were deleted.
    format!(
        "COPY INTO {} ({})\nFROM (SELECT {} FROM @{}/{folder})\nFILES = ({})\n\
         FILE_FORMAT = (FORMAT_NAME = '{}')\nFORCE = TRUE",
        target.full_name(table.name()),
        columns.join(", "),
        values.join(", "),
        target.full_name(STAGE),
        files.join(", "),
        target.full_name(FILE_FORMAT),
    )
}

fn to_temporary_table(table: &TableLoad, location: &str) -> String {
    let files = table.files.iter();
    let files: Vec<_> = files
        .map(|file| Engine::BigQuery.literal(&format!("{location}/{file}")))
        .collect();
    format!(
        "LOAD DATA OVERWRITE TEMP TABLE {}\nFROM FILES (format = 'PARQUET', uris = [{}], enable_list_inference = TRUE)",
        temporary_name(table.table),
        files.join(", ")
    )
}

fn temporary_name(table: Table) -> String {
    format!("answerlake_{table}")
}
