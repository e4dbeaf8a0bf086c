//! The books of a window: put together, and checked before anything of it is committed.

use std::time::Duration;

use answerlake_model::{Fit, JobBooks, Window};
use chrono::{DateTime, Utc};

use crate::assemble::{Assembled, Counts};
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
    /// Why it was asked for less than the settings say; absent where it was not.
    pub(crate) fit: Option<Fit>,
}

/// Draws up a window's books: those of each of its jobs, in their order.
///
/// # Errors
/// When they do not balance: with the numbers.
pub(crate) fn reconcile(
    jobs: Vec<JobFacts>,
    assembled: &Assembled,
) -> Result<Vec<JobBooks>, PipelineError> {
    let mut books = Vec::with_capacity(jobs.len());
    for (place, facts) in jobs.into_iter().enumerate() {
        let counts = assembled.counts.get(place).copied().unwrap_or_default();
        books.push(books_of(facts, counts)?);
    }
    for (key, partition) in &assembled.partitions {
        let of_partition = &partition.books;
        let rows: u64 = partition
            .files
            .iter()
            .filter(|file| is_of_record(file))
            .map(|file| file.rows)
            .sum();
        if !of_partition.balance() || rows != of_partition.written {
            let window = books.first().and_then(|job| job.window);
            let reason = format!(
                "partition `{key}`: assigned {}, held {}, written {}, duplicates {}, dead letters {}, rows in files {rows}",
                of_partition.assigned,
                of_partition.held,
                of_partition.written,
                of_partition.duplicates,
                of_partition.dead_letters
            );
            return Err(unbalanced(window, reason));
        }
    }
    Ok(books)
}

fn books_of(facts: JobFacts, counts: Counts) -> Result<JobBooks, PipelineError> {
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
        assigned: counts.assigned,
        duplicates: counts.duplicates,
        fit: facts.fit,
    };
    if books.balance() {
        return Ok(books);
    }
    let promised = books.promised.map_or_else(
        || "no promise".to_owned(),
        |promised| format!("promised {promised}"),
    );
    let reason = format!(
        "{promised}, decoded {}, of these margin {}, strays {}, unassigned {}, assigned {} ({} duplicates)",
        books.decoded,
        books.margin,
        books.strays,
        books.unassigned,
        books.assigned,
        books.duplicates
    );
    Err(unbalanced(books.window, reason))
}

fn unbalanced(window: Option<Window>, reason: String) -> PipelineError {
    PipelineError::Books {
        window: window.map_or_else(|| "of an ingest".to_owned(), |window| window.to_string()),
        reason,
    }
}

/// Whether a file's rows are one a record.
fn is_of_record(file: &answerlake_load::EncodedFile) -> bool {
    use answerlake_model::Table::{Events, Feedback, Queries};
    matches!(file.table, Queries | Feedback | Events)
}
