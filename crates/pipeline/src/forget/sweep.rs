//! One partition without the records that are forgotten: restored, assembled anew, and committed in place of itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use answerlake_load::{CommitOutcome, LoadError, OnCommitted, PartitionState};
use answerlake_model::{PartitionKey, PerTable};
use answerlake_transform::{AppAssignment, Forgotten, IdHash, Restorer};

use crate::assemble::AssembledPartition;
use crate::bridge::on_its_own_thread;
use crate::error::PipelineError;
use crate::restore::{BATCH_ROWS, ahead};
use crate::tombstones::{self, Tombstones};
use crate::union::restore_to_fragment;
use crate::workbench::{CommitAs, Workbench};

/// How often a partition may be committed by others while it is swept.
const TRIES: u32 = 8;

/// What a partition lost.
#[derive(Debug, Clone)]
pub(crate) struct Swept {
    /// The revision that held it.
    pub(crate) from_revision: u64,
    /// The revision without it; absent where nothing was committed.
    pub(crate) revision: Option<u64>,
    pub(crate) records: u64,
    pub(crate) rows: PerTable<u64>,
}

/// Removes what is forgotten from a partition, or, where nothing is to be applied, says what would go; `None` where it
/// holds nothing of it.
pub(crate) async fn sweep(
    bench: &Workbench<'_>,
    key: &PartitionKey,
    tombstones: &Tombstones,
    applies: bool,
) -> Result<Option<Swept>, PipelineError> {
    for _ in 0..TRIES {
        let folder = bench.scratch.subfolder()?;
        let Some((state, files)) = bench.lake.hold_newest(key, folder.path()).await? else {
            return Ok(None);
        };
        let fragment = restore_to_fragment(key, &state, files, folder.path(), 1).await?;
        let progress = bench.context.progress.begin(None);
        let app = AppAssignment::Fixed(key.app_id().clone());
        let mut assembly = bench.assembly(app, None, key.clone(), folder.path(), &progress);
        assembly.decode.forgotten = tombstones.forgotten();
        assembly.decode.grain = key.grain();
        let assembled = on_its_own_thread(move || assembly.run(vec![fragment].into_iter()));
        let mut assembled = assembled.await?;
        let partition = assembled.partitions.remove(key);
        let partition = partition.unwrap_or_else(AssembledPartition::empty);
        if partition.books.forgotten == 0 {
            return Ok(None);
        }
        let mut swept = lost(&state, &partition);
        if !applies {
            return Ok(Some(swept));
        }
        if !assembled.learned.is_empty() {
            // With the records goes what tells whose queries they were, and feedback names nothing else: who sweeps
            // looks for that once more.
            let run_id = &bench.context.run_id;
            tombstones::put(&bench.lake, run_id, &BTreeSet::new(), &assembled.learned).await?;
        }
        let commit_as = CommitAs {
            provisional: state.manifest.provisional,
            partial: state.manifest.partial,
            on_committed: OnCommitted::ReplaceRevision(state.revision),
            earlier_jobs: state.manifest.jobs,
            strays: state.manifest.strays,
            recheck: false,
        };
        match bench.propose(key, partition, &[], commit_as).await? {
            CommitOutcome::Committed { revision, .. } => {
                // A note of why it failed once may name its records.
                bench.lake.delete_failure(key).await?;
                tracing::info!(partition = %key, revision, records = swept.records, "records removed");
                swept.revision = Some(revision);
                return Ok(Some(swept));
            }
            outcome => {
                tracing::debug!(partition = %key, ?outcome, "committed by others meanwhile");
            }
        }
    }
    Err(LoadError::Busy {
        partition: key.clone(),
        tries: TRIES,
    }
    .into())
}

fn lost(state: &PartitionState, partition: &AssembledPartition) -> Swept {
    let before = state.manifest.rows();
    let mut after = PerTable::<u64>::default();
    for file in &partition.files {
        after[file.table] += file.rows;
    }
    Swept {
        from_revision: state.revision,
        revision: None,
        records: partition.books.forgotten,
        rows: PerTable::from_fn(|table| before[table] - after[table]),
    }
}

/// The queries of forgotten persons in a partition that are not known as forgotten.
pub(crate) async fn learn(
    bench: &Workbench<'_>,
    key: &PartitionKey,
    forgotten: &Arc<Forgotten>,
) -> Result<BTreeSet<IdHash>, PipelineError> {
    let folder = bench.scratch.subfolder()?;
    let Some((_, files)) = bench.lake.hold_newest(key, folder.path()).await? else {
        return Ok(BTreeSet::new());
    };
    let sources = files.into_batches(BATCH_ROWS).map(ahead);
    let (forgotten, partition) = (Arc::clone(forgotten), key.clone());
    on_its_own_thread(move || {
        let mut learned = BTreeSet::new();
        for record in Restorer::new(sources) {
            let record = record.map_err(|source| PipelineError::Restore {
                partition: partition.clone(),
                source,
            })?;
            let verdict = forgotten.judge_bytes(record.json.as_bytes());
            learned.extend(verdict.and_then(|verdict| verdict.learned));
        }
        Ok(learned)
    })
    .await
}
