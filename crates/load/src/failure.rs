//! What is known of a partition that failed: a note beside the lake's data, so that `status` can say why a day is not
//! in. It says nothing once the partition has a newer manifest.

use std::collections::BTreeMap;

use answerlake_model::{AppId, PartitionKey, RunId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::lake::Lake;
use crate::location;

/// Why a partition failed when it was last tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFailure {
    /// When.
    pub at: DateTime<Utc>,
    /// The run that tried.
    pub run_id: RunId,
    /// The error with its causes.
    pub error: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same run may succeed later without anyone's doing.
    pub retryable: bool,
}

impl Lake {
    /// Notes that a partition failed, in place of an older note.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_failure(
        &self,
        key: &PartitionKey,
        failure: &PartitionFailure,
    ) -> Result<(), LoadError> {
        let json = serde_json::to_vec(failure).expect("plain fields have a JSON form");
        self.store
            .overwrite(&location::failure(key), json.into())
            .await
    }

    /// The notes of partitions that failed, of one app or of all. One that cannot be read as a note is left out: it is
    /// a help, and must not stand in the way.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn failures(
        &self,
        app_id: Option<&AppId>,
    ) -> Result<BTreeMap<PartitionKey, PartitionFailure>, LoadError> {
        let paths = self
            .store
            .list_paths(&location::failures(app_id), None)
            .await?;
        let keys: Vec<_> = paths.iter().filter_map(location::parse_failure).collect();
        let paths = keys.iter().map(location::failure).collect();
        let notes = self.store.read_each(paths, |path, json| {
            let note = serde_json::from_slice::<PartitionFailure>(json);
            Ok(note
                .inspect_err(
                    |error| tracing::warn!(%path, %error, "a note of a failure cannot be read"),
                )
                .ok())
        });
        let found = keys.into_iter().zip(notes.await?);
        Ok(found
            .filter_map(|(key, note)| Some((key, note.flatten()?)))
            .collect())
    }

    /// Drops the note of a partition; it is no error if there is none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_failure(&self, key: &PartitionKey) -> Result<(), LoadError> {
        self.store.delete(&location::failure(key)).await
    }
}
