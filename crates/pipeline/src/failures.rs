//! Notes in the lake of partitions that failed, so that `status` can say why a day is not in.
//!
//! They are a help for people. That one cannot be written or dropped changes nothing of what the run comes to.

use std::collections::BTreeSet;

use answerlake_load::{Lake, LoadError, PartitionFailure};
use answerlake_model::{AppId, PartitionKey, RunId};
use chrono::Utc;

use crate::error::{FailureKind, PipelineError, chain};
use crate::plan::PlannedWindow;
use crate::window_run::WindowOutcome;
use crate::workbench::PartitionOutcome;

/// Writes the notes of a run.
pub(crate) struct FailureNotes<'r> {
    lake: &'r Lake,
    run_id: &'r RunId,
    /// The partitions that had a note when the run began: others need none dropped.
    noted: BTreeSet<PartitionKey>,
}

impl<'r> FailureNotes<'r> {
    pub(crate) async fn open(lake: &'r Lake, app_id: &AppId, run_id: &'r RunId) -> Self {
        let noted = lake.failures(Some(app_id)).await.unwrap_or_else(|error| {
            tracing::warn!(error = chain(&error), "notes of failures cannot be read");
            Default::default()
        });
        Self {
            lake,
            run_id,
            noted: noted.into_keys().collect(),
        }
    }

    /// Notes what failed of a window, and drops the notes of what did not.
    pub(crate) async fn update(
        &self,
        planned: &PlannedWindow,
        outcome: &Result<WindowOutcome, PipelineError>,
    ) {
        match outcome {
            Err(error) => {
                for (key, _) in &planned.partitions {
                    self.note(key, error).await;
                }
            }
            Ok(outcome) => {
                for (key, partition) in &outcome.partitions {
                    self.update_partition(key, partition).await;
                }
            }
        }
    }

    /// The same of one partition.
    pub(crate) async fn update_partition(&self, key: &PartitionKey, outcome: &PartitionOutcome) {
        match &outcome.committed {
            Ok(_) => self.drop_note(key).await,
            Err(error) => self.note(key, error).await,
        }
    }

    async fn note(&self, key: &PartitionKey, error: &PipelineError) {
        // A run that is stopped has not failed, and one that others are faster than has no say in the partition.
        if error.kind() == FailureKind::Stopped
            || matches!(error, PipelineError::Load(LoadError::Busy { .. }))
        {
            return;
        }
        let failure = PartitionFailure {
            at: Utc::now(),
            run_id: self.run_id.clone(),
            error: chain(error),
            hint: error.hint(),
            retryable: error.is_retryable(),
        };
        if let Err(error) = self.lake.put_failure(key, &failure).await {
            tracing::warn!(partition = %key, error = chain(&error), "the failure cannot be noted in the lake");
        }
    }

    async fn drop_note(&self, key: &PartitionKey) {
        if self.noted.contains(key)
            && let Err(error) = self.lake.delete_failure(key).await
        {
            tracing::warn!(partition = %key, error = chain(&error), "the note of an earlier failure stays");
        }
    }
}
