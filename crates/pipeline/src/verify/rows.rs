//! Decodes every row of a data file, and checks what can be told of one by itself: its time, and that JSON is JSON.

use answerlake_load::{Fault, LoadError, StoredColumns};
use answerlake_model::PartitionKey;
use answerlake_transform::PromptLayout;
use answerlake_transform::schema::{ColumnKind, columns};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, SecondsFormat};
use serde::de::IgnoredAny;
use tokio::runtime::Handle;

use super::found::Found;

/// Checks the rows of a file, a column at a time: no more than one is in memory. Blocks.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn check_rows(
    file: &StoredColumns,
    key: &PartitionKey,
    prompt: PromptLayout,
    runtime: &Handle,
) -> Result<Found, LoadError> {
    let mut found = Found::default();
    let path = &file.file().path;
    for column in columns(file.file().table, prompt) {
        let mut row = 1;
        for batch in file.read(&[column.name], runtime)? {
            let batch = match batch {
                Err(LoadError::ReadData { source, .. }) => {
                    let message = format!("column `{}`: {source}", column.name);
                    found.add_file(Fault::Undecodable, path, message);
                    break;
                }
                batch => batch?,
            };
            match column.kind {
                ColumnKind::Json => check_json(&batch, column.name, path, row, &mut found),
                ColumnKind::Time if column.name == "created_at" => {
                    check_times(&batch, key, path, row, &mut found);
                }
                // That it was decoded is all that can be said.
                _ => {}
            }
            row += batch.num_rows() as u64;
        }
    }
    Ok(found)
}

fn check_json(batch: &RecordBatch, column: &str, path: &str, first_row: u64, found: &mut Found) {
    let texts = batch.columns().first();
    let texts = texts.and_then(|texts| texts.as_string_view_opt());
    for (row, text) in (first_row..).zip(texts.into_iter().flatten()) {
        // Skipping a value takes no memory and no stack, however deep it is.
        let error = text.and_then(|text| serde_json::from_str::<IgnoredAny>(text).err());
        if let Some(error) = error {
            found.add(Fault::InvalidJson, path, row, || {
                format!("column `{column}`: {error}")
            });
        }
    }
}

fn check_times(
    batch: &RecordBatch,
    key: &PartitionKey,
    path: &str,
    first_row: u64,
    found: &mut Found,
) {
    let window = key.window();
    let times = batch.columns().first();
    let times = times.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
    for (row, micros) in (first_row..).zip(times.into_iter().flatten()) {
        let time = micros.and_then(DateTime::from_timestamp_micros);
        if time.is_none_or(|time| !window.contains(time)) {
            found.add(Fault::WrongTime, path, row, || {
                let got = time.map_or_else(
                    || "none".to_owned(),
                    |time| time.to_rfc3339_opts(SecondsFormat::Millis, true),
                );
                format!("created_at {got} is not of this partition")
            });
        }
    }
}
