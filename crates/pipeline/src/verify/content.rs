//! Restores the records of a partition, and compares them with the digest that it was committed with: the columns hold
//! what was exported, to the last value. On the way it is seen whether any of them is forgotten.

use answerlake_load::{LoadError, StoredColumns};
use answerlake_model::PerTable;
use answerlake_transform::{Forgotten, RestoreError, Restorer, content_digest};
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

/// What came of a partition's records.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// What is wrong with them, if anything is.
    pub(crate) fault: Option<String>,
    /// How many are forgotten.
    pub(crate) forgotten: u64,
}

/// Restores the records, and looks at them. Blocks.
///
/// # Errors
/// When the store, or a file, cannot be read.
pub(crate) fn check_content(
    files: &PerTable<Vec<StoredColumns>>,
    expected_digest: &str,
    forgotten: Option<&Forgotten>,
    runtime: &Handle,
) -> Result<Content, LoadError> {
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
    let mut content = Content::default();
    for record in Restorer::new(sources) {
        match record {
            Ok(record) => {
                let verdict = forgotten.and_then(|known| known.judge_bytes(record.json.as_bytes()));
                content.forgotten += u64::from(verdict.is_some());
                hashes.push(record.hash);
                continue;
            }
            Err(RestoreError::Read { source, .. }) => match source.downcast::<LoadError>() {
                Ok(error) => return Err(*error),
                Err(source) => content.fault = Some(source.to_string()),
            },
            Err(error) => content.fault = Some(error.to_string()),
        }
        return Ok(content);
    }
    let digest = content_digest(hashes);
    content.fault = (digest != expected_digest).then(|| {
        format!(
            "expected records of content digest `{expected_digest}`, restored those of `{digest}`"
        )
    });
    Ok(content)
}
