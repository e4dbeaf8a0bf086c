//! What became of a run: the result that the program prints as JSON.

use answerlake_model::{JobBooks, PartitionKey, PerTable};
use chrono::{DateTime, SecondsFormat, Timelike, Utc};
use serde::Serialize;

use crate::error::{FailureKind, PipelineError, chain};
use crate::workbench::PartitionOutcome;

/// What became of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// How it ended.
    pub status: RunStatus,
    /// Whether running again may help.
    pub retryable: bool,
    /// The run.
    pub run_id: String,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
    /// Each partition that was looked at and not found settled, in order.
    pub partitions: Vec<PartitionReport>,
    /// All of it, added up.
    pub totals: Totals,
    /// What went wrong with the run as a whole; absent when it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The worst of what went wrong.
    #[serde(skip)]
    pub failure: Option<FailureKind>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// All that was due is in.
    Ok,
    /// Nothing was due.
    NothingToDo,
    /// Some partitions failed, the rest are in.
    Partial,
    /// Nothing came of it.
    Failed,
}

/// What became of a partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// Its app.
    pub app_id: String,
    /// Its UTC day.
    pub dt: String,
    /// Its UTC hour, with hourly grain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<u32>,
    /// What became of it.
    pub state: PartitionState,
    /// Its newest revision, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Whether it will be read again for late records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisional: Option<bool>,
    /// Its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<PerTable<u64>>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// It has a new revision.
    Committed,
    /// It holds the same already.
    Unchanged,
    /// It stays as it was.
    Failed,
    /// An export lacks records that it holds; it stays as it was.
    Shrunk,
    /// Others are committing it.
    Busy,
    /// It has not ended long enough ago.
    NotDue,
}

/// Numbers over all partitions. Records, where not said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Promised by the jobs.
    pub promised: u64,
    /// Met in fragments.
    pub decoded: u64,
    /// Written.
    pub written: u64,
    /// Met before with the same value.
    pub duplicates: u64,
    /// In a margin: they belong to a neighbour.
    pub margin: u64,
    /// Of other days, kept as strays.
    pub strays: u64,
    /// Set aside.
    pub dead_letters: u64,
    /// Of the dead letters, those that lost to another version.
    pub conflicts: u64,
    /// Of persons and queries that are forgotten, in the partitions: not kept.
    #[serde(skip_serializing_if = "is_zero")]
    pub forgotten: u64,
    /// Rows by table, of the partitions committed or found unchanged.
    pub rows: PerTable<u64>,
    /// Bytes of fragments, as they came.
    pub bytes_fetched: u64,
    /// Bytes of new data files.
    pub bytes_written: u64,
    /// Requests to the source.
    pub requests: u64,
    /// Of these, repeated ones.
    pub retries: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl PartitionReport {
    /// Says `state` of a partition, and nothing else yet.
    pub fn new(key: &PartitionKey, state: PartitionState) -> Self {
        Self {
            app_id: key.app_id().to_string(),
            dt: key.start().format("%Y-%m-%d").to_string(),
            hour: (key.grain() == answerlake_model::Grain::Hour).then(|| key.start().hour()),
            state,
            revision: None,
            provisional: None,
            rows: None,
            error: None,
        }
    }

    /// Says that a partition failed.
    pub fn failed(key: &PartitionKey, error: &PipelineError) -> Self {
        let state = match error {
            PipelineError::Load(answerlake_load::LoadError::Busy { .. }) => PartitionState::Busy,
            PipelineError::Shrunk { .. } => PartitionState::Shrunk,
            _ => PartitionState::Failed,
        };
        Self {
            error: Some(chain(error)),
            ..Self::new(key, state)
        }
    }
}

impl RunReport {
    /// The report of a run that could not begin, or broke off.
    pub fn of_error(
        run_id: &str,
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
        error: &PipelineError,
    ) -> Self {
        Self {
            status: RunStatus::Failed,
            retryable: error.is_retryable(),
            run_id: run_id.to_owned(),
            started_at: iso(started_at),
            finished_at: iso(finished_at),
            partitions: Vec::new(),
            totals: Totals::default(),
            error: Some(chain(error)),
            hint: error.hint(),
            failure: Some(error.kind()),
        }
    }
}

/// Puts a report together while windows end, in any order.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) partitions: Vec<(PartitionKey, PartitionReport)>,
    pub(crate) totals: Totals,
    failures: Vec<(FailureKind, bool)>,
    hint: Option<String>,
}

impl Tally {
    /// Adds a partition, in place of what was said of it before.
    pub(crate) fn add(&mut self, key: &PartitionKey, report: PartitionReport) {
        if let Some(place) = self.partitions.iter().position(|(known, _)| known == key) {
            let (_, earlier) = self.partitions.swap_remove(place);
            if let Some(rows) = &earlier.rows {
                self.totals.rows = PerTable::from_fn(|table| self.totals.rows[table] - rows[table]);
            }
        }
        if let Some(rows) = &report.rows {
            self.totals.rows = PerTable::from_fn(|table| self.totals.rows[table] + rows[table]);
        }
        self.partitions.push((key.clone(), report));
    }

    /// Adds what the books of jobs say.
    pub(crate) fn add_jobs(&mut self, jobs: &[JobBooks]) {
        for books in jobs {
            self.totals.promised += books.promised.unwrap_or(0);
            self.totals.decoded += books.decoded;
            self.totals.margin += books.margin;
            self.totals.strays += books.strays;
            self.totals.dead_letters += books.unassigned;
        }
    }

    /// Adds what became of a partition.
    pub(crate) fn add_partition(&mut self, key: &PartitionKey, outcome: PartitionOutcome) {
        let PartitionOutcome { books, committed } = outcome;
        self.totals.duplicates += books.duplicates;
        self.totals.dead_letters += books.dead_letters;
        self.totals.conflicts += books.conflicts;
        self.totals.forgotten += books.forgotten;
        match committed {
            Ok((report, bytes_written)) => {
                self.totals.written += books.written.saturating_sub(books.held);
                self.totals.bytes_written += bytes_written;
                self.add(key, report);
            }
            Err(error) => {
                tracing::error!(partition = %key, error = chain(&error), "partition failed");
                self.fail(std::slice::from_ref(key), &error);
            }
        }
    }

    /// Whether a partition failed before.
    pub(crate) fn has_failed(&self, key: &PartitionKey) -> bool {
        let mut reports = self.partitions.iter();
        reports.any(|(known, report)| known == key && report.state == PartitionState::Failed)
    }

    pub(crate) fn fail(&mut self, keys: &[PartitionKey], error: &PipelineError) {
        self.failures.push((error.kind(), error.is_retryable()));
        self.hint = self.hint.take().or_else(|| error.hint());
        for key in keys {
            self.add(key, PartitionReport::failed(key, error));
        }
    }

    pub(crate) fn finish(
        mut self,
        run_id: &str,
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
    ) -> RunReport {
        self.partitions.sort_by(|(a, _), (b, _)| a.cmp(b));
        let count = |states: &[PartitionState]| {
            self.partitions
                .iter()
                .filter(|(_, report)| states.contains(&report.state))
                .count()
        };
        let done = count(&[PartitionState::Committed, PartitionState::Unchanged]);
        let failed = count(&[
            PartitionState::Failed,
            PartitionState::Shrunk,
            PartitionState::Busy,
        ]);
        let status = match (done, failed) {
            (0, 0) if self.failures.is_empty() => RunStatus::NothingToDo,
            (_, 0) if self.failures.is_empty() => RunStatus::Ok,
            (0, _) => RunStatus::Failed,
            _ => RunStatus::Partial,
        };
        RunReport {
            status,
            retryable: self.failures.iter().any(|(_, is_retryable)| *is_retryable),
            run_id: run_id.to_owned(),
            started_at: iso(started_at),
            finished_at: iso(finished_at),
            partitions: self
                .partitions
                .into_iter()
                .map(|(_, report)| report)
                .collect(),
            totals: self.totals,
            error: None,
            hint: self.hint,
            failure: self.failures.into_iter().map(|(kind, _)| kind).max(),
        }
    }
}

pub(crate) fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
