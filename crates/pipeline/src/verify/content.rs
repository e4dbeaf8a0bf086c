//! Restores the records of a partition, and compares them with the digest that it was committed with: the columns hold
//! what was exported, to the last value.

use answerlake_load::{LoadError, StoredColumns};
use answerlake_model::PerTable;
use answerlake_transform::{RestoreError, Restorer, content_digest};
use tokio::runtime::Handle;

/// Rows of a batch: a call of the language model may take some hundred kilobytes.
const BATCH_ROWS: usize = 64;

/// What it takes of memory: of each table the pages and dictionaries of one row group, at most.
pub(crate) fn memory_of(files: &PerTable<Vec<StoredColumns>>) -> u64 {
    let tables = files.iter().map(|(_, files)| files.iter());
    tables
        .filter_map(|files| files.map(StoredColumns::largest_row_group_bytes).max())
        .sum()
}

/// Restores the records; gives what is wrong with them, if anything is. Blocks.
///
/// # Errors
/// When the store, or a file, cannot be read.
pub(crate) fn check_content(
    files: &PerTable<Vec<StoredColumns>>,
    expected_digest: &str,
    runtime: &Handle,
) -> Result<Option<String>, LoadError> {
    let sources = PerTable::from_fn(|table| {
        files[table].iter().flat_map(|file| {
            let (batches, failure) = match file.read_rows(BATCH_ROWS, runtime) {
                Ok(batches) => (Some(batches), None),
                Err(error) => (None, Some(Err(error))),
            };
            batches.into_iter().flatten().chain(failure)
        })
    });
    let mut hashes = Vec::new();
    for record in Restorer::new(sources) {
        match record {
            Ok(record) => hashes.push(record.hash),
            Err(RestoreError::Read { source, .. }) => match source.downcast::<LoadError>() {
                Ok(error) => return Err(*error),
                Err(source) => return Ok(Some(source.to_string())),
            },
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    let digest = content_digest(hashes);
    Ok((digest != expected_digest).then(|| {
        format!(
            "expected records of content digest `{expected_digest}`, restored those of `{digest}`"
        )
    }))
}
