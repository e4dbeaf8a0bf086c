//! What `run` and `ingest` work with: the lake, the threads that compute, scratch; and how a partition is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use answerlake_load::{CommitOutcome, Lake, LakeStore, OnCommitted, Proposal, WriterConfig};
use answerlake_model::{
    AppId, JobBooks, PartitionBooks, PartitionKey, PerTable, RunId, TableSchema, Window,
};
use answerlake_transform::schema::{record_id_column, table_schemas};
use answerlake_transform::{AppAssignment, DecodeConfig, Forgotten, Masking, SCHEMA_VERSION};
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};

use tokio_util::sync::CancellationToken;

use crate::assemble::{Assembled, AssembledPartition, Assembly, with_queries};
use crate::bridge::Compute;
use crate::config::PipelineConfig;
use crate::drift::KnownDrift;
use crate::error::{PipelineError, chain};
use crate::forget;
use crate::progress::{Progress, WindowProgress};
use crate::recovery::{clear_staging, roll_forward};
use crate::report::{PartitionReport, PartitionState};
use crate::scratch::Scratch;
use crate::strict::Strict;
use crate::tombstones::{self, Tombstones};

/// What a run is told by who starts it.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The run.
    pub run_id: RunId,
    /// The time: what is due is due as of it.
    pub now: DateTime<Utc>,
    /// The version of the program; goes into the manifests.
    pub program_version: String,
    /// What the orchestrator says of the run; goes into the manifests as it is.
    pub orchestrator: BTreeMap<String, String>,
    /// Scratch, where the settings name none.
    pub default_scratch: PathBuf,
    /// Cancelled when the run is to stop.
    pub stop: CancellationToken,
    /// Where the run writes down how far it is.
    pub progress: Arc<Progress>,
}

/// What the work is done with.
pub(crate) struct Workbench<'a> {
    pub(crate) config: &'a PipelineConfig,
    pub(crate) context: &'a RunContext,
    pub(crate) lake: Lake,
    compute: Compute,
    schemas: Arc<PerTable<TableSchema>>,
    masking: Option<Arc<Masking>>,
    pub(crate) scratch: Scratch,
    known_drift: KnownDrift,
    tombstones: Mutex<Tombstones>,
}

/// How a partition is to be committed.
#[derive(Debug, Clone)]
pub(crate) struct CommitAs {
    pub(crate) provisional: bool,
    pub(crate) partial: bool,
    pub(crate) on_committed: OnCommitted,
    /// The books of jobs that brought records which the partition held before.
    pub(crate) earlier_jobs: Vec<JobBooks>,
    /// The files of strays that were joined in.
    pub(crate) strays: BTreeSet<String>,
    /// Whether what is committed is read back first.
    pub(crate) recheck: bool,
}

/// How long a run that is to stop goes on with the commits that it has in hand.
const COMMIT_IN_HAND: Duration = Duration::from_secs(7);

/// What came of a partition.
pub(crate) struct PartitionOutcome {
    pub(crate) books: PartitionBooks,
    /// Its report and the bytes written.
    pub(crate) committed: Result<(PartitionReport, u64), PipelineError>,
}

impl PartitionOutcome {
    /// Of a partition that stays as it was.
    pub(crate) fn failed(error: PipelineError) -> Self {
        Self {
            books: PartitionBooks::default(),
            committed: Err(error),
        }
    }
}

impl<'a> Workbench<'a> {
    /// Opens the lake, checks that it was made with the same settings, and finishes what earlier runs left.
    pub(crate) async fn open(
        config: &'a PipelineConfig,
        context: &'a RunContext,
        windows_at_once: usize,
    ) -> Result<Self, PipelineError> {
        context.progress.start();
        let masking = config.masking()?;
        let lake = Lake::new(LakeStore::open(&config.lake.url).await?).keeping_checkpoints();
        lake.pin(&config.lake_pin()).await?;
        roll_forward(&lake, config.app_id.as_ref()).await?;
        clear_staging(&lake).await;
        Self::with(config, context, lake, masking, windows_at_once).await
    }

    /// Makes it of an open lake. Masks with `masking`.
    pub(crate) async fn with(
        config: &'a PipelineConfig,
        context: &'a RunContext,
        lake: Lake,
        masking: Option<Arc<Masking>>,
        windows_at_once: usize,
    ) -> Result<Self, PipelineError> {
        let tombstones = Tombstones::read(&lake).await?;
        let compute = Compute::try_new(config.run.threads, config.run.memory, windows_at_once)?;
        tracing::debug!(threads = compute.threads(), "ready to compute");
        let scratch = config
            .run
            .scratch
            .as_deref()
            .unwrap_or(&context.default_scratch);
        Ok(Self {
            config,
            context,
            lake,
            compute,
            schemas: Arc::new(table_schemas(config.lake.prompt)),
            masking,
            scratch: Scratch::try_new(scratch)?,
            known_drift: KnownDrift::default(),
            tombstones: Mutex::new(tombstones),
        })
    }

    /// Who is forgotten, as far as it is known by now.
    pub(crate) fn tombstones(&self) -> Tombstones {
        let tombstones = self.tombstones.lock();
        tombstones.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the fragments of `window` (absent: of any time) become data files.
    pub(crate) fn assembly(
        &self,
        app: AppAssignment,
        window: Option<(Window, TimeDelta)>,
        fallback: PartitionKey,
        scratch: &Path,
        progress: &Arc<WindowProgress>,
    ) -> Assembly {
        let tombstones = self.tombstones();
        Assembly {
            compute: self.compute.clone(),
            decode: DecodeConfig {
                window,
                grain: self.config.lake.grain,
                prompt: self.config.lake.prompt,
                masking: self.masking.clone(),
                max_record_bytes: self.config.run.max_record_bytes,
                forgotten: tombstones.forgotten(),
                ..DecodeConfig::new(app)
            },
            writer: WriterConfig {
                compression: self.config.lake.compression,
                ..WriterConfig::default()
            },
            schemas: Arc::clone(&self.schemas),
            scratch: scratch.to_owned(),
            fallback,
            progress: Arc::clone(progress),
            tombstones,
        }
    }

    /// Gives back what was assembled, unless every record was set aside: better no day than an empty one that should
    /// not be. What was set aside is kept in the lake then, and nothing else.
    pub(crate) async fn refuse_if_none_loaded(
        &self,
        assembled: Assembled,
    ) -> Result<Assembled, PipelineError> {
        match assembled.check_any_loaded() {
            Ok(()) => Ok(assembled),
            Err(error) => {
                assembled.aside.put(&self.lake).await?;
                Err(error)
            }
        }
    }

    /// Commits all partitions of what was assembled, some at once, once what goes beside them is in the lake. One that
    /// fails does not stop the others.
    pub(crate) async fn commit_all(
        &self,
        assembled: Assembled,
        jobs: &[JobBooks],
        commit_as: impl Fn(&PartitionKey) -> CommitAs,
        progress: &WindowProgress,
    ) -> Result<Vec<(PartitionKey, PartitionOutcome)>, PipelineError> {
        // What is committed at once shares the waits for the disk, or the store.
        const COMMITS_AT_ONCE: usize = 4;
        progress.committing(assembled.partitions.len());
        let known = self.remember(&assembled).await?;
        let keys: Vec<PartitionKey> = assembled.partitions.keys().cloned().collect();
        let strict = self.config.run.strict.then(|| Strict::of(&assembled));
        let strict = &strict;
        assembled.aside.put(&self.lake).await?;
        let commits = assembled.partitions.into_iter().map(|(key, partition)| {
            let commit_as = commit_as(&key);
            async move {
                let books = partition.books;
                let checked = match strict {
                    Some(strict) => strict.check(&key, &partition),
                    None => Ok(()),
                };
                let committed = match checked {
                    Ok(()) if self.context.stop.is_cancelled() => Err(PipelineError::Stopped),
                    // One that is abandoned is a killed run's to the next.
                    Ok(()) => tokio::select! {
                        done = self.commit(&key, partition, jobs, commit_as) => done,
                        () = self.out_of_patience() => Err(PipelineError::Stopped),
                    },
                    Err(error) => Err(error),
                };
                progress.partition_done(committed.is_ok());
                (key, PartitionOutcome { books, committed })
            }
        });
        let outcomes = stream::iter(commits).buffer_unordered(COMMITS_AT_ONCE);
        let outcomes = outcomes.collect().await;
        // Who was forgotten since the records were read: `forget` may have been here before these were committed, and
        // sees them if not.
        if known.are_outdated(&self.lake).await? {
            forget::sweep_again(self, &keys).await?;
        }
        for job_id in jobs.iter().filter_map(|job| job.job_id.as_deref()) {
            forget::sweep_landing(self, job_id).await?;
        }
        Ok(outcomes)
    }

    /// Takes note of who is forgotten, for all that is assembled from now on.
    pub(crate) fn know(&self, tombstones: Tombstones) {
        *self
            .tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = tombstones;
    }

    /// Writes down the queries that turned out to be forgotten, for all runs to come; gives what was known when this was
    /// assembled, and that.
    async fn remember(&self, assembled: &Assembled) -> Result<Tombstones, PipelineError> {
        let known = &assembled.tombstones;
        let Some(forgotten) = known.forgotten().filter(|_| !assembled.learned.is_empty()) else {
            return Ok(known.clone());
        };
        let (run_id, learned) = (&self.context.run_id, &assembled.learned);
        let name = tombstones::put(&self.lake, run_id, &BTreeSet::new(), learned).await?;
        let with = |tombstones: &Tombstones, forgotten: &Arc<Forgotten>| {
            let forgotten = with_queries(forgotten, learned);
            tombstones.with(name.clone(), forgotten)
        };
        let mut newest = self
            .tombstones
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = newest.forgotten().unwrap_or_else(|| Arc::clone(&forgotten));
        *newest = with(&newest, &all);
        Ok(with(known, &forgotten))
    }

    /// Waits until the run is to stop, and then as long as a commit in hand may take.
    async fn out_of_patience(&self) {
        self.context.stop.cancelled().await;
        tokio::time::sleep(COMMIT_IN_HAND).await;
    }

    /// Commits one partition; gives its report and the bytes written.
    async fn commit(
        &self,
        key: &PartitionKey,
        partition: AssembledPartition,
        new_jobs: &[JobBooks],
        commit_as: CommitAs,
    ) -> Result<(PartitionReport, u64), PipelineError> {
        let provisional = commit_as.provisional;
        if commit_as.on_committed == OnCommitted::ReplaceUnlessShrunk {
            // What is forgotten and still there, as of a `forget` that was killed, would pass for lost. A revision that
            // cannot be read is for the commit to judge.
            let swept = forget::sweep_partition(self, key, &self.tombstones()).await;
            if let Err(error) = swept {
                tracing::warn!(partition = %key, error = chain(&error), "forgotten records are not looked for");
            }
        }
        let outcome = self.propose(key, partition, new_jobs, commit_as).await?;
        let (state, revision, rows, bytes) = match outcome {
            CommitOutcome::Committed {
                revision,
                rows,
                bytes_written,
            } => {
                tracing::info!(partition = %key, revision, bytes = bytes_written, "partition committed");
                (
                    PartitionState::Committed,
                    revision,
                    Some(rows),
                    bytes_written,
                )
            }
            CommitOutcome::Unchanged { revision, rows } => {
                tracing::info!(partition = %key, revision, "partition unchanged");
                (PartitionState::Unchanged, revision, Some(rows), 0)
            }
            CommitOutcome::Outdated { revision, rows } => {
                tracing::warn!(partition = %key, revision, "partition holds what a newer job brought, and stays");
                (PartitionState::Unchanged, revision, Some(rows), 0)
            }
            CommitOutcome::Shrunk {
                revision,
                lost,
                example,
            } => {
                return Err(PipelineError::Shrunk {
                    partition: key.clone(),
                    revision,
                    lost,
                    example,
                });
            }
            CommitOutcome::Refused { revision } => {
                return Err(PipelineError::CommittedMeanwhile {
                    partition: key.clone(),
                    revision,
                });
            }
        };
        let report = PartitionReport {
            revision: Some(revision),
            provisional: Some(provisional),
            rows,
            ..PartitionReport::new(key, state)
        };
        Ok((report, bytes))
    }

    /// Commits one partition, with the books of new jobs beside those of earlier ones.
    pub(crate) async fn propose(
        &self,
        key: &PartitionKey,
        partition: AssembledPartition,
        new_jobs: &[JobBooks],
        commit_as: CommitAs,
    ) -> Result<CommitOutcome, PipelineError> {
        let CommitAs {
            provisional,
            partial,
            on_committed,
            earlier_jobs: mut jobs,
            strays,
            recheck,
        } = commit_as;
        jobs.extend_from_slice(new_jobs);
        self.known_drift
            .warn_of_new(&self.lake, key, &partition.drift)
            .await;
        let proposal = Proposal {
            key: key.clone(),
            run_id: self.context.run_id.clone(),
            files: partition.files,
            content_digest: partition.content_digest,
            provisional,
            partial,
            books: partition.books,
            jobs,
            strays,
            drift: partition.drift,
            stats: Some(partition.stats),
            schema_version: SCHEMA_VERSION,
            program_version: self.context.program_version.clone(),
            context: self.context.orchestrator.clone(),
            on_committed,
            record_id_columns: PerTable::from_fn(record_id_column),
            allow_unchanged: true,
            recheck,
        };
        Ok(self.lake.commit(proposal).await?)
    }

    /// A partition to name where none is known: of this app, today.
    pub(crate) fn partition_of_today(&self, app_id: AppId) -> PartitionKey {
        PartitionKey::new(app_id, self.context.now, self.config.lake.grain)
    }
}
