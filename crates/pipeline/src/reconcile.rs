//! The books of a window: put together, and checked before anything of it is committed.

use std::time::Duration;

use answerlake_model::{JobBooks, Window};
use chrono::{DateTime, Utc};

use crate::assemble::Assembled;
use crate::error::PipelineError;

/// What is known of a job beside its fragments.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFacts {
    pub(crate) job_id: Option<String>,
    pub(crate) window: Option<Window>,
    pub(crate) as_of: Option<DateTime<Utc>>,
    pub(crate) export_time: Option<Duration>,
    /// Records promised; `None` promises nothing.
    pub(crate) promised: Option<u64>,
}

/// Draws up a window's books.
///
/// # Errors
/// When they do not balance: with the numbers.
pub(crate) fn reconcile(facts: JobFacts, assembled: &Assembled) -> Result<JobBooks, PipelineError> {
    let counts = assembled.counts;
    let partitions = || {
        assembled
            .partitions
            .values()
            .map(|partition| &partition.books)
    };
    let books = JobBooks {
        job_id: facts.job_id,
        window: facts.window,
        as_of: facts.as_of,
        promised: facts.promised,
        export_millis: facts
            .export_time
            .and_then(|time| u64::try_from(time.as_millis()).ok()),
        fragments: counts.fragments,
        decoded: counts.decoded,
        margin: counts.margin,
        strays: counts.strays,
        unassigned: counts.unassigned,
        assigned: partitions().map(|books| books.assigned).sum(),
        duplicates: partitions().map(|books| books.duplicates).sum(),
    };
    let unbalanced = |reason: String| PipelineError::Books {
        window: books
            .window
            .map_or_else(|| "of an ingest".to_owned(), |window| window.to_string()),
        reason,
    };
    if !books.balance() {
        let promised = books.promised.map_or_else(
            || "no promise".to_owned(),
            |promised| format!("promised {promised}"),
        );
        return Err(unbalanced(format!(
            "{promised}, decoded {}, of these margin {}, strays {}, unassigned {}, assigned {} ({} duplicates)",
            books.decoded,
            books.margin,
            books.strays,
            books.unassigned,
            books.assigned,
            books.duplicates
        )));
    }
    for (key, partition) in &assembled.partitions {
        let books = &partition.books;
        let rows: u64 = partition
            .files
            .iter()
            .filter(|file| is_of_record(file))
            .map(|file| file.rows)
            .sum();
        if !books.balance() || rows != books.written {
            return Err(unbalanced(format!(
                "partition `{key}`: assigned {}, written {}, duplicates {}, dead letters {}, rows in files {rows}",
                books.assigned, books.written, books.duplicates, books.dead_letters
            )));
        }
    }
    Ok(books)
}

/// Whether a file's rows are one a record.
fn is_of_record(file: &answerlake_load::EncodedFile) -> bool {
    use answerlake_model::Table::{Events, Feedback, Queries};
    matches!(file.table, Queries | Feedback | Events)
}
