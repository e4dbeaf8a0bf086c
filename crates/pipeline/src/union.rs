//! What partitions hold already, joined with what is brought: their records themselves, out of the lake.
//!
//! They are written to scratch as one fragment more, which is read before those that are brought. So which of several
//! records with one identity is kept is decided where it always is, and what comes out is one revision with all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use answerlake_load::{HeldFiles, Lake, LoadError, OnCommitted, PartitionState};
use answerlake_model::PartitionKey;
use chrono::{DateTime, Utc};

use crate::assemble::Assembled;
use crate::bridge::{Fragment, OriginKind};
use crate::error::PipelineError;
use crate::restore::{RecordWriter, RestoreFormat, restore_partition};
use crate::workbench::CommitAs;

/// Partitions that hold something else than what is brought.
#[derive(Debug, Default)]
pub(crate) struct Union {
    states: BTreeMap<PartitionKey, PartitionState>,
}

impl Union {
    /// Looks what is committed of the partitions that were assembled.
    pub(crate) async fn find(lake: &Lake, assembled: &Assembled) -> Result<Self, PipelineError> {
        let mut states = BTreeMap::new();
        for (key, partition) in &assembled.partitions {
            let Some(state) = lake.state(key).await? else {
                continue;
            };
            if state.is_broken() {
                return Err(LoadError::Broken {
                    partition: key.clone(),
                    revision: state.revision,
                    missing: state.missing,
                }
                .into());
            }
            if state.manifest.content_digest != partition.content_digest {
                states.insert(key.clone(), state);
            }
        }
        Ok(Self { states })
    }

    /// Of one partition, whatever is to be joined with it.
    pub(crate) fn of(key: &PartitionKey, state: PartitionState) -> Self {
        Self {
            states: BTreeMap::from([(key.clone(), state)]),
        }
    }

    /// Adds a partition.
    pub(crate) fn add(&mut self, key: &PartitionKey, state: PartitionState) {
        self.states.insert(key.clone(), state);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Writes the records that the partitions hold to `folder`, a fragment each, numbered from `first_number` on.
    pub(crate) async fn restore(
        &self,
        lake: &Lake,
        folder: &Path,
        first_number: u32,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = Vec::with_capacity(self.states.len());
        for ((key, state), number) in self.states.iter().zip(first_number..) {
            let files = lake.hold(key, state, folder).await?;
            let files = files.ok_or_else(|| PipelineError::CommittedMeanwhile {
                partition: key.clone(),
                revision: state.revision + 1,
            })?;
            fragments.push(restore_to_fragment(key, state, files, folder, number).await?);
            tracing::info!(partition = %key, revision = state.revision, "joined with what the partition holds");
        }
        Ok(fragments)
    }

    /// The same, to join what a job brought that was asked for at `posted_at`: of two versions of a record, the newer
    /// job's is kept. What the lake knows no time of counts as of the same.
    pub(crate) async fn restore_as_of(
        &self,
        posted_at: DateTime<Utc>,
        lake: &Lake,
        folder: &Path,
        first_number: u32,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = self.restore(lake, folder, first_number).await?;
        for (fragment, (key, state)) in fragments.iter_mut().zip(&self.states) {
            fragment.origin_kind = OriginKind::Held {
                app_id: key.app_id().clone(),
                as_of: Some(newest_job(state).unwrap_or(posted_at)),
            };
        }
        Ok(fragments)
    }

    /// The same, to join what newer jobs bring: of two versions of a record, the newer job's is kept, and nothing is
    /// said of the other.
    pub(crate) async fn restore_to_join(
        &self,
        lake: &Lake,
        folder: &Path,
        first_number: u32,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let mut fragments = self.restore(lake, folder, first_number).await?;
        for (fragment, (key, state)) in fragments.iter_mut().zip(&self.states) {
            fragment.origin_kind = OriginKind::Joined {
                app_id: key.app_id().clone(),
                as_of: newest_job(state),
            };
        }
        Ok(fragments)
    }

    /// How a partition is committed. What was known of it stays so: records that join it make it neither complete nor
    /// incomplete.
    pub(crate) fn commit_as(&self, key: &PartitionKey) -> CommitAs {
        match self.states.get(key) {
            Some(state) => CommitAs {
                provisional: state.manifest.provisional,
                partial: state.manifest.partial,
                on_committed: OnCommitted::ReplaceRevision(state.revision),
                earlier_jobs: state.manifest.jobs.clone(),
                strays: BTreeSet::new(),
                recheck: false,
            },
            None => CommitAs {
                provisional: false,
                partial: true,
                on_committed: OnCommitted::Refuse,
                earlier_jobs: Vec::new(),
                strays: BTreeSet::new(),
                recheck: false,
            },
        }
    }
}

/// When the newest of the jobs was asked for that a revision was made of.
fn newest_job(state: &PartitionState) -> Option<DateTime<Utc>> {
    state.manifest.jobs.iter().filter_map(|job| job.as_of).max()
}

/// Writes the records of a revision to `folder` as a fragment of that number.
pub(crate) async fn restore_to_fragment(
    key: &PartitionKey,
    state: &PartitionState,
    files: HeldFiles,
    folder: &Path,
    number: u32,
) -> Result<Fragment, PipelineError> {
    let path = folder.join(format!("held-{number}.json"));
    let failed = |source| PipelineError::Scratch {
        action: "write",
        path: path.clone(),
        source,
    };
    let out = BufWriter::new(File::create_new(&path).map_err(failed)?);
    let writer = RecordWriter::new(out, RestoreFormat::Json);
    let written = restore_partition(key, state, files, folder, writer).await;
    let writer = written.map_err(|error| match error {
        PipelineError::Output(source) => failed(source),
        other => other,
    })?;
    writer.finish().map_err(failed)?;
    Ok(Fragment {
        number,
        position: 1,
        path,
        origin: format!("revision {} of partition `{key}`", state.revision),
        promised_records: Some(state.manifest.books.written),
        origin_kind: OriginKind::Held {
            app_id: key.app_id().clone(),
            as_of: None,
        },
    })
}
