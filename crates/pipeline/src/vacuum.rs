//! `vacuum`: what killed and late writers left in a lake and nobody needs any more, told, and removed if asked to.

use std::time::Duration;

use answerlake_load::staging::STAGING_MAX_AGE;
use answerlake_load::{
    KeptBecause, Lake, LakeStore, Leftover, LeftoverKind, VacuumOptions, Vacuumed,
};
use serde::Serialize;

use crate::config::PipelineConfig;
use crate::error::PipelineError;
use crate::recovery::{BrokenRevision, RolledForward, told_apart};
use crate::report::RunStatus;

/// What `vacuum` found.
#[derive(Debug, Clone, Serialize)]
pub struct VacuumReport {
    /// `ok`, `nothing_to_do`, or `partial` where revisions are broken.
    pub status: RunStatus,
    /// The lake's address.
    pub lake: String,
    /// Whether there is a lake at all.
    pub exists: bool,
    /// Whether what was found was removed.
    pub applied: bool,
    /// The commits that were finished, or would be.
    pub rolled_forward: Vec<RolledForward>,
    /// The revisions that cannot be finished: a run plans their partitions again.
    pub broken: Vec<BrokenRevision>,
    /// What was removed, or would be, by kind.
    pub removed: Vec<Found>,
    /// What stays, by kind.
    pub kept: Vec<Found>,
}

/// Leftovers of one kind, and why they go or stay.
#[derive(Debug, Clone, Serialize)]
pub struct Found {
    /// What they are.
    pub kind: LeftoverKind,
    /// Why they stay; absent where they go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<KeptBecause>,
    /// The reason, in words.
    pub reason: String,
    /// How many: files, or folders.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Each, relative to the lake.
    pub paths: Vec<String>,
}

/// Finds what nobody needs any more, of the settings' app or of all, and with `apply` removes it.
///
/// # Errors
/// When the lake cannot be read or written.
pub async fn vacuum(config: &PipelineConfig, apply: bool) -> Result<VacuumReport, PipelineError> {
    // Nothing to clear is no reason to make a lake.
    let lake = Lake::new(LakeStore::open_to_read(&config.lake.url).await?);
    // Refuses a lake of a newer program.
    let exists = lake.pinned().await?.is_some();
    let options = VacuumOptions {
        app_id: config.app_id.clone(),
        apply,
        max_age: STAGING_MAX_AGE,
        job_max_age: STAGING_MAX_AGE.max(config.jobs.max_age),
    };
    let Vacuumed {
        unfinished,
        leftovers,
    } = lake.vacuum(&options).await?;
    let (rolled_forward, broken) = told_apart(unfinished);
    let (removed, kept): (Vec<_>, Vec<_>) =
        leftovers.into_iter().partition(|one| one.kept.is_none());
    let status = if !broken.is_empty() {
        RunStatus::Partial
    } else if rolled_forward.is_empty() && removed.is_empty() {
        RunStatus::NothingToDo
    } else {
        RunStatus::Ok
    };
    Ok(VacuumReport {
        status,
        lake: config.lake.url.to_string(),
        exists,
        applied: apply,
        rolled_forward,
        broken,
        removed: by_kind(removed, &options),
        kept: by_kind(kept, &options),
    })
}

fn by_kind(mut leftovers: Vec<Leftover>, options: &VacuumOptions) -> Vec<Found> {
    leftovers.sort_by_key(|one| (one.kind, one.kept));
    let alike = leftovers.chunk_by(|one, next| (one.kind, one.kept) == (next.kind, next.kept));
    alike
        .map(|alike| Found {
            kind: alike[0].kind,
            because: alike[0].kept,
            reason: reason(alike[0].kind, alike[0].kept, options),
            count: alike.len(),
            bytes: alike.iter().map(|one| one.bytes).sum(),
            paths: alike.iter().map(|one| one.path.clone()).collect(),
        })
        .collect()
}

/// Why leftovers of a kind go, or stay.
fn reason(kind: LeftoverKind, kept: Option<KeptBecause>, options: &VacuumOptions) -> String {
    use LeftoverKind::{CutWrite, EmptyFolder, FailureNote, JobRecord, StagedFile, UnlistedFile};
    let hours = |age: Duration| age.as_secs() / 3600;
    let age = match kind {
        JobRecord => hours(options.job_max_age),
        _ => hours(options.max_age),
    };
    match (kind, kept) {
        (_, Some(KeptBecause::Young)) => {
            format!("younger than {age} hours: a run may be at work on them")
        }
        (StagedFile, None) => format!(
            "staged {age} hours ago or earlier, and no unpublished revision names them: their runs were killed"
        ),
        (CutWrite, None) => format!(
            "not written whole for {age} hours: their writers were killed, and no reader is shown them"
        ),
        (UnlistedFile, None) => {
            "a revision listed them and a later one dropped them: a publisher that went on late \
             brought them back, or a power cut did, and readers that glob count them"
                .to_owned()
        }
        (JobRecord, None) => {
            format!("stored {age} hours ago or earlier: no run takes up so old an export job")
        }
        (FailureNote, None) => "their partitions were committed since".to_owned(),
        (EmptyFolder, None) => {
            format!("empty for {age} hours, or now that what was in them goes")
        }
        (UnlistedFile, Some(KeptBecause::Needed)) => {
            "the newest revision of their partition is not published, or \
             cannot be read: until it is, nobody can say that they are not needed"
                .to_owned()
        }
        (UnlistedFile, Some(_)) => {
            "no manifest of this lake ever listed them, so no program may remove them; readers \
             that glob count them (see verify)"
                .to_owned()
        }
        (_, Some(KeptBecause::Needed)) => {
            "an unpublished revision names them: recover, or the next run, needs them".to_owned()
        }
        (_, Some(_)) => "not laid out as this program does it: another one's to judge".to_owned(),
    }
}
