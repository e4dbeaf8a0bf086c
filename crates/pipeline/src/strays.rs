//! Strays: records that came with another day's window, and join the partition of their own.
//!
//! They are kept in the lake before the window that brought them is committed, and are never deleted: whenever their
//! partition is built anew, from an export that may lack them as the one before did, they join it again. A manifest names
//! the files of strays that it was made with, so that what is new to a partition is told by two listings. A run joins
//! what is new to the partitions that it looked at when it has done all else, out of the lake alone: the source may have
//! nothing of these days any more. Killed before that, it leaves it to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use answerlake_load::{
    Lake, LoadError, OnCommitted, PartitionState, PartitionSummary, strays_as_of,
};
use answerlake_model::{AppId, PartitionKey, Window};
use answerlake_transform::AppAssignment;

use crate::bridge::{Fragment, OriginKind, on_its_own_thread};
use crate::error::PipelineError;
use crate::reconcile::reconcile;
use crate::union::Union;
use crate::workbench::{CommitAs, PartitionOutcome, Workbench};

/// How often a partition is joined with its strays, where another run commits it meanwhile.
const TRIES: u32 = 3;

/// The files of strays that the lake keeps of an app, by partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strays(BTreeMap<PartitionKey, BTreeSet<String>>);

impl Strays {
    /// Looks them up.
    pub(crate) async fn of(lake: &Lake, app_id: &AppId) -> Result<Self, LoadError> {
        lake.strays(app_id).await.map(Self)
    }

    /// The names of a partition's files.
    pub(crate) fn names(&self, key: &PartitionKey) -> BTreeSet<String> {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Whether a partition was made without some of them.
    pub(crate) fn are_new_to(&self, key: &PartitionKey, summary: &PartitionSummary) -> bool {
        self.0
            .get(key)
            .is_some_and(|names| !names.is_subset(&summary.strays))
    }

    /// Brings those of `keys` to `folder`, as fragments numbered from `first_number` on.
    pub(crate) async fn fetch(
        &self,
        lake: &Lake,
        keys: impl Iterator<Item = &PartitionKey>,
        folder: &Path,
        first_number: u32,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments: Vec<Fragment> = Vec::new();
        for key in keys {
            for name in self.names(key) {
                let number = first_number + fragments.len() as u32;
                let path = folder.join(format!("strays-{number}.ndjson.zst"));
                let bytes = lake.read_strays(key, &name).await?;
                tokio::fs::write(&path, &bytes)
                    .await
                    .map_err(|source| PipelineError::Scratch {
                        action: "write",
                        path: path.clone(),
                        source,
                    })?;
                fragments.push(Fragment {
                    number,
                    position: 1,
                    path,
                    origin: format!("the strays `{name}` of partition `{key}`"),
                    promised_records: None,
                    origin_kind: OriginKind::Joined {
                        app_id: key.app_id().clone(),
                        as_of: strays_as_of(&name),
                    },
                });
            }
        }
        Ok(fragments)
    }
}

/// Joins strays into the committed partitions of `window` that were made without them. Those of partitions that are not
/// committed wait until they are built.
pub(crate) async fn join_strays(
    bench: &Workbench<'_>,
    app_id: &AppId,
    window: &Window,
) -> Result<Vec<(PartitionKey, PartitionOutcome)>, PipelineError> {
    let strays = Strays::of(&bench.lake, app_id).await?;
    let mut joined = Vec::new();
    if strays.0.is_empty() {
        return Ok(joined);
    }
    let grain = bench.config.lake.grain;
    let summaries = bench.lake.states(app_id, window, grain).await?;
    for (key, summary) in &summaries {
        if !strays.are_new_to(key, summary) {
            continue;
        }
        if bench.context.stop.is_cancelled() {
            break;
        }
        match join(bench, &strays, key).await {
            Ok(None) => {}
            Ok(Some(outcome)) => joined.push((key.clone(), outcome)),
            Err(error) => joined.push((key.clone(), PartitionOutcome::failed(error))),
        }
    }
    Ok(joined)
}

/// Joins the strays of a partition with what it holds; `None` where there is nothing to be done.
async fn join(
    bench: &Workbench<'_>,
    strays: &Strays,
    key: &PartitionKey,
) -> Result<Option<PartitionOutcome>, PipelineError> {
    for tried in 1.. {
        let Some(state) = bench.lake.state(key).await? else {
            return Ok(None);
        };
        // What is broken is read again anyway.
        if state.is_broken() || strays.names(key).is_subset(&state.manifest.strays) {
            return Ok(None);
        }
        match join_once(bench, strays, key, state).await {
            Err(PipelineError::CommittedMeanwhile { .. }) if tried < TRIES => {}
            done => return done.map(Some),
        }
    }
    unreachable!("the last try returns")
}

async fn join_once(
    bench: &Workbench<'_>,
    strays: &Strays,
    key: &PartitionKey,
    state: PartitionState,
) -> Result<PartitionOutcome, PipelineError> {
    let commit_as = CommitAs {
        provisional: state.manifest.provisional,
        partial: state.manifest.partial,
        on_committed: OnCommitted::ReplaceRevision(state.revision),
        earlier_jobs: state.manifest.jobs.clone(),
        strays: strays.names(key),
        recheck: false,
    };
    let folder = bench.scratch.subfolder()?;
    let progress = bench.context.progress.begin(None);
    let held = Union::of(key, state)
        .restore_to_join(&bench.lake, folder.path(), 1)
        .await?;
    let joining = strays
        .fetch(&bench.lake, [key].into_iter(), folder.path(), 2)
        .await?;
    tracing::info!(partition = %key, files = joining.len(), "strays join their partition");
    let app = AppAssignment::Fixed(key.app_id().clone());
    let assembly = bench.assembly(app, None, key.clone(), folder.path(), &progress);
    let all: Vec<_> = held.into_iter().chain(joining).collect();
    let assembled = on_its_own_thread(move || assembly.run(all.into_iter())).await?;
    reconcile(Vec::new(), &assembled)?;
    let committed = bench
        .commit_all(assembled, &[], |_| commit_as.clone(), &progress)
        .await?;
    bench.context.progress.end(&progress, 0);
    drop(folder);
    let outcome = committed.into_iter().find(|(found, _)| found == key);
    let outcome = outcome.map(|(_, outcome)| outcome);
    match outcome {
        Some(PartitionOutcome {
            committed: Err(error @ PipelineError::CommittedMeanwhile { .. }),
            ..
        }) => Err(error),
        Some(outcome) => Ok(outcome),
        None => Err(PipelineError::Unexpected {
            reason: format!("partition `{key}` and its strays came to nothing"),
        }),
    }
}
