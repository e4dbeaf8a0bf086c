//! A table's columns and types: those of its files, and those that the path holds.

use std::collections::BTreeMap;

use answerlake_model::{Grain, PartitionKey, Table};
use answerlake_transform::schema::{Column, columns};
use chrono::Timelike;

use crate::engine::Engine;
use crate::target::Target;

/// A column that the path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathColumn {
    App,
    Day,
    Hour,
}

impl PathColumn {
    pub(crate) fn of(grain: Grain) -> &'static [Self] {
        match grain {
            Grain::Day => &[Self::App, Self::Day],
            Grain::Hour => &[Self::App, Self::Day, Self::Hour],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::App => "app_id",
            Self::Day => "dt",
            Self::Hour => "hour",
        }
    }

    pub(crate) fn doc(self) -> &'static str {
        match self {
            Self::App => "the app",
            Self::Day => "the UTC day of created_at; give it in WHERE, and other days are not read",
            Self::Hour => "the UTC hour of created_at",
        }
    }

    pub(crate) fn type_of(self, engine: Engine) -> &'static str {
        match (self, engine) {
            (Self::App, Engine::DuckDb | Engine::Snowflake) => "VARCHAR",
            (Self::App, Engine::BigQuery | Engine::Spark) => "STRING",
            (Self::App, Engine::Athena) => "string",
            (Self::Day, Engine::Athena) => "date",
            (Self::Day, _) => "DATE",
            // As DuckDB reads it unasked.
            (Self::Hour, Engine::DuckDb) => "BIGINT",
            (Self::Hour, Engine::Snowflake) => "INTEGER",
            (Self::Hour, Engine::BigQuery) => "INT64",
            (Self::Hour, Engine::Athena) => "int",
            (Self::Hour, Engine::Spark) => "INT",
        }
    }

    /// Its value in a partition.
    pub(crate) fn value(self, key: &PartitionKey, engine: Engine) -> String {
        match self {
            Self::App => engine.literal(key.app_id().as_str()),
            Self::Day => format!("DATE '{}'", key.start().format("%Y-%m-%d")),
            Self::Hour => key.start().hour().to_string(),
        }
    }
}

/// The columns of a table's files.
pub(crate) fn file_columns(table: Table, target: &Target) -> &'static [Column] {
    columns(table, target.prompt)
}

/// All columns of a table by name, those of the path last.
pub(crate) fn names(table: Table, target: &Target) -> Vec<&'static str> {
    let files = file_columns(table, target).iter().map(|column| column.name);
    let path = PathColumn::of(target.grain)
        .iter()
        .map(|column| column.name());
    files.chain(path).collect()
}

/// What a column means, what is left of it in this lake included.
pub(crate) fn column_doc(column: &Column, masking: &BTreeMap<String, String>) -> String {
    let mut doc = column.doc.to_owned();
    let policy = column.fields().iter().find_map(|field| masking.get(*field));
    let masked = match policy.map(String::as_str) {
        None => "",
        Some("drop") => "dropped in this lake: null, or as if the source had not sent it",
        Some("hash") => "hashed in this lake: HMAC-SHA-256 under its key, in hex",
        Some("strip_query") => "in this lake without what follows its `?`",
        Some(_) => "masked in this lake",
    };
    for part in [column.source.path(), masked] {
        if !part.is_empty() {
            doc.push_str(if doc.is_empty() { "" } else { "; " });
            doc.push_str(part);
        }
    }
    doc
}
