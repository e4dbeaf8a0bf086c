//! Mends what runs that were killed left in the lake: at the start of a run, and by itself as `recover`.

use answerlake_load::staging::STAGING_MAX_AGE;
use answerlake_load::{ClearedStaging, Lake, LakeStore, Recovered};
use answerlake_model::AppId;
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::{PipelineError, chain};
use crate::report::RunStatus;
use crate::status::run_arguments;

/// What `recover` did.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveryReport {
    /// `ok`, `nothing_to_do`, or `partial` where revisions are broken.
    pub status: RunStatus,
    /// The lake's address.
    pub lake: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// The commits that were finished.
    pub rolled_forward: Vec<RolledForward>,
    /// The revisions that cannot be finished: a run plans their partitions again.
    pub broken: Vec<BrokenRevision>,
    /// What was cleared of staging.
    pub staging: StagingReport,
}

/// A commit that was finished.
#[derive(Debug, Clone, Serialize)]
pub struct RolledForward {
    /// The partition, as its hive path.
    pub partition: String,
    /// The revision.
    pub revision: u64,
}

/// A revision that cannot be finished.
#[derive(Debug, Clone, Serialize)]
pub struct BrokenRevision {
    /// The partition, as its hive path.
    pub partition: String,
    /// Its app.
    pub app_id: String,
    /// The revision.
    pub revision: u64,
    /// The files that are nowhere, relative to the lake.
    pub missing: Vec<String>,
    /// What `answerlake run` is to be told to read the partition again, beside the settings.
    pub arguments: Vec<String>,
}

/// What was cleared of staging.
#[derive(Debug, Clone, Serialize)]
pub struct StagingReport {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that stay, because they are young or a commit needs them.
    pub kept: u64,
}

/// Finishes the commits that were left unfinished, of the settings' app or of all, and clears staging of killed runs.
///
/// # Errors
/// When the lake cannot be read or written.
pub async fn recover(config: &PipelineConfig) -> Result<RecoveryReport, PipelineError> {
    // Nothing to mend is no reason to make a lake.
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    // Refuses a lake of a newer program.
    let exists = lake.pinned().await?.is_some();
    let recovered = roll_forward(&lake, config.app_id.as_ref()).await?;
    let staging = lake.clear_staging(STAGING_MAX_AGE).await?;
    let (rolled_forward, broken) = told_apart(recovered);
    let status = if !broken.is_empty() {
        RunStatus::Partial
    } else if rolled_forward.is_empty() && staging.files == 0 {
        RunStatus::NothingToDo
    } else {
        RunStatus::Ok
    };
    Ok(RecoveryReport {
        status,
        lake: config.lake.url.to_string(),
        exists,
        rolled_forward,
        broken,
        staging: StagingReport {
            files: staging.files,
            bytes: staging.bytes,
            kept: staging.kept,
        },
    })
}

/// The commits that were finished, or can be, and those that cannot.
pub(crate) fn told_apart(recovered: Vec<Recovered>) -> (Vec<RolledForward>, Vec<BrokenRevision>) {
    let (mut rolled_forward, mut broken) = (Vec::new(), Vec::new());
    for one in recovered {
        match one {
            Recovered::RolledForward {
                partition,
                revision,
            } => rolled_forward.push(RolledForward {
                partition: partition.to_string(),
                revision,
            }),
            Recovered::Broken {
                partition,
                revision,
                missing,
            } => broken.push(BrokenRevision {
                partition: partition.to_string(),
                app_id: partition.app_id().to_string(),
                revision,
                missing,
                arguments: run_arguments(&partition.window()),
            }),
        }
    }
    (rolled_forward, broken)
}

/// Finishes the commits that earlier runs left, and says so in the log.
pub(crate) async fn roll_forward(
    lake: &Lake,
    app_id: Option<&AppId>,
) -> Result<Vec<Recovered>, PipelineError> {
    let recovered = lake.recover(app_id).await?;
    for one in &recovered {
        match one {
            Recovered::RolledForward {
                partition,
                revision,
            } => {
                tracing::info!(%partition, revision, "a commit that an earlier run left was finished");
            }
            Recovered::Broken {
                partition,
                revision,
                missing,
            } => {
                tracing::error!(%partition, revision, ?missing, "a revision is broken: files of it are nowhere");
            }
        }
    }
    Ok(recovered)
}

/// Clears staging of killed runs on the way. A run does not depend on it.
pub(crate) async fn clear_staging(lake: &Lake) {
    match lake.clear_staging(STAGING_MAX_AGE).await {
        Ok(ClearedStaging { files: 0, .. }) => {}
        Ok(ClearedStaging { files, bytes, .. }) => {
            tracing::info!(files, bytes, "cleared what killed runs had staged");
        }
        Err(error) => {
            tracing::warn!(
                error = chain(&error),
                "staging of killed runs cannot be cleared"
            );
        }
    }
}
