//! `run`: what is due, window by window, from the source to the lake.
//!
//! Windows are in flight together; one that fails does not stop the others. Nothing of a window is committed before
//! its books balance.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use answerlake_extract::{
    ExportClient, ExtractConfig, ExtractError, FinishedJob, JobObserver, JobStore, SourceConfig,
};
use answerlake_load::{OnCommitted, PartitionSummary};
use answerlake_model::{JobBooks, PartitionBooks, PartitionKey, Window};
use answerlake_transform::AppAssignment;
use chrono::{DateTime, SubsecRound, Utc};
use futures::{StreamExt, stream};

use crate::assemble::{Assembled, AssembledPartition};
use crate::bridge::{Downloads, on_its_own_thread};
use crate::config::{OnShrink, PipelineConfig};
use crate::error::PipelineError;
use crate::failures::FailureNotes;
use crate::landing::{WindowLanding, clear_old};
use crate::plan::{Plan, PlannedWindow, RunRequest, looked_at, plan, to_delta};
use crate::progress::WindowProgress;
use crate::reconcile::{JobFacts, reconcile};
use crate::report::{PartitionReport, PartitionState, RunReport, Tally};
use crate::state::{LakeJobs, Wanted, clear_jobs, committed, in_flight};
use crate::workbench::{CommitAs, PartitionOutcome, RunContext, Workbench};

/// Fragments that wait, downloaded, for the one being read.
const FRAGMENTS_AHEAD: usize = 4;

/// How often a window is exported before it fails for what it holds.
const EXPORTS: u32 = 2;

/// Brings all that is due into the lake.
///
/// # Errors
/// When the run cannot begin: settings, lake, scratch. What fails later is in the report.
pub async fn run(
    config: &PipelineConfig,
    extract: &ExtractConfig,
    request: &RunRequest,
    context: &RunContext,
) -> Result<RunReport, PipelineError> {
    let range = request.resolve(config, context.now)?;
    let client = ExportClient::try_new(extract.clone())?;
    let bench = Workbench::open(config, context, extract.jobs.concurrency).await?;

    let app_id = &extract.source.app_id;
    let looked_at = looked_at(&range, &config.window, config.lake.grain);
    let states = bench
        .lake
        .states(app_id, &looked_at, config.lake.grain)
        .await?;
    clear_jobs(&bench.lake, app_id, context.now, config.jobs.max_age).await;
    let in_flight = in_flight(&bench.lake, app_id, config, context.now).await?;
    let Plan { windows, not_due } = plan(
        app_id,
        &range,
        request,
        &committed(&states),
        &in_flight,
        config,
        context.now,
    );
    tracing::info!(range = %range, windows = windows.len(), not_due = not_due.len(), "planned");

    let mut tally = Tally::default();
    for key in &not_due {
        tally.add(key, PartitionReport::new(key, PartitionState::NotDue));
    }
    clear_old(&bench.lake, config, app_id, context.now).await;
    let notes = FailureNotes::open(&bench.lake, app_id, &context.run_id).await;
    let (bench, client, notes, states) = (&bench, &client, &notes, &states);
    context.progress.plan(windows.len());
    let runs = windows.iter().map(|planned| async move {
        let progress = context.progress.begin(Some(planned.window));
        let run = WindowRun {
            bench,
            client: client.observed_by(Arc::clone(&progress) as Arc<dyn JobObserver>),
            source: &extract.source,
            planned,
            states,
            is_forced: request.force,
            progress: &progress,
        };
        let outcome = run.run().await;
        let failed_with_it = outcome.as_ref().map_or(planned.partitions.len(), |_| 0);
        context.progress.end(&progress, failed_with_it);
        notes.update(planned, &outcome).await;
        (planned, outcome)
    });
    let mut in_flight = stream::iter(runs).buffer_unordered(extract.jobs.concurrency);
    while let Some((planned, outcome)) = in_flight.next().await {
        tally.add_window(planned, outcome);
    }
    drop(in_flight);

    let stats = client.stats();
    tally.totals.requests = stats.requests;
    tally.totals.retries = stats.retries;
    tally.totals.bytes_fetched = stats.bytes_fetched;
    Ok(tally.finish(context.run_id.as_str(), context.now, Utc::now()))
}

/// What came of a window.
pub(crate) struct WindowOutcome {
    /// The books of its job; absent where another run had brought it meanwhile.
    books: Option<JobBooks>,
    pub(crate) partitions: Vec<(PartitionKey, PartitionOutcome)>,
}

/// One window on its way.
struct WindowRun<'r> {
    bench: &'r Workbench<'r>,
    client: ExportClient,
    source: &'r SourceConfig,
    planned: &'r PlannedWindow,
    /// What was committed when it was planned.
    states: &'r BTreeMap<PartitionKey, PartitionSummary>,
    is_forced: bool,
    progress: &'r Arc<WindowProgress>,
}

impl WindowRun<'_> {
    async fn run(&self) -> Result<WindowOutcome, PipelineError> {
        let wanted = Wanted {
            partitions: &self.planned.partitions,
            seen: self.states,
        };
        let jobs = LakeJobs::new(&self.bench.lake, &self.bench.context.run_id, wanted);
        let mut exports = 1;
        let (job, assembled, books) = loop {
            let exported = self
                .until_stopped(async { Ok(self.export(&jobs).await?) }, jobs.settle())
                .await?;
            let Some(job) = exported else {
                return self.brought_by_another().await;
            };
            match self.until_stopped(self.assemble(&job), async {}).await {
                // A source that repeats records while it pages through them may have skipped others.
                Ok((_, books)) if books.duplicates > 0 && exports < EXPORTS => {
                    tracing::warn!(window = %self.planned.window, duplicates = books.duplicates, "exported again");
                    self.forget(&jobs, &job).await?;
                    exports += 1;
                }
                Ok((assembled, books)) => break (job, assembled, books),
                Err(error) if is_about_content(&error) => {
                    // The same job would give the same again: this run or the next exports anew.
                    self.forget(&jobs, &job).await?;
                    if exports == EXPORTS {
                        return Err(error);
                    }
                    exports += 1;
                    tracing::warn!(window = %self.planned.window, error = crate::error::chain(&error), "exported again");
                }
                Err(error) => return Err(error),
            }
        };
        let outcome = self.commit(assembled, books, job.record.posted_at).await?;
        // A job whose partition could not be committed is taken up by the next run, unless the fault is in what it
        // brought.
        let is_spent = |committed: &Result<_, PipelineError>| {
            matches!(
                committed,
                Ok(_) | Err(PipelineError::Shrunk { .. } | PipelineError::Strict { .. })
            )
        };
        if outcome
            .partitions
            .iter()
            .all(|(_, partition)| is_spent(&partition.committed))
        {
            self.forget(&jobs, &job).await?;
        }
        Ok(outcome)
    }

    /// What the partitions hold that another run has committed since they were planned.
    async fn brought_by_another(&self) -> Result<WindowOutcome, PipelineError> {
        tracing::info!(window = %self.planned.window, "another run has brought it meanwhile");
        let mut partitions = Vec::new();
        for (key, _) in &self.planned.partitions {
            let Some(state) = self.bench.lake.state(key).await? else {
                continue;
            };
            let report = PartitionReport {
                revision: Some(state.revision),
                provisional: Some(state.manifest.provisional),
                rows: Some(state.manifest.rows()),
                ..PartitionReport::new(key, PartitionState::Unchanged)
            };
            let outcome = PartitionOutcome {
                books: PartitionBooks::default(),
                committed: Ok((report, 0)),
            };
            partitions.push((key.clone(), outcome));
        }
        Ok(WindowOutcome {
            books: None,
            partitions,
        })
    }

    async fn forget(&self, jobs: &LakeJobs<'_>, job: &FinishedJob) -> Result<(), PipelineError> {
        let forgotten = jobs.forget(&job.record).await;
        forgotten.map_err(|source| {
            ExtractError::JobStore {
                action: "forgotten",
                source,
            }
            .into()
        })
    }

    /// Gives up on `work` when the run is to stop, once it may be: while `settled` is awaited it still goes on. What it
    /// leaves, the next run takes up or clears.
    async fn until_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, PipelineError>>,
        settled: impl Future<Output = ()>,
    ) -> Result<T, PipelineError> {
        let stopped = async {
            self.bench.context.stop.cancelled().await;
            settled.await;
        };
        tokio::select! {
            biased;
            () = stopped => Err(PipelineError::Stopped),
            done = work => done,
        }
    }

    /// The finished job of the window; `None` where another run has brought it meanwhile.
    async fn export(&self, jobs: &LakeJobs<'_>) -> Result<Option<FinishedJob>, ExtractError> {
        let range = self.asked_range();
        let request = self.source.request(range);
        let Some(job) = self.client.run_job(&request, jobs).await? else {
            return Ok(None);
        };
        tracing::info!(
            window = %self.planned.window,
            job_id = %job.record.job_id,
            fragments = job.fragments.len(),
            records = job.total_records,
            taken_up = job.taken_up,
            "export finished"
        );
        Ok(Some(job))
    }

    /// The window with its margin, as it is asked for: nothing of the future. So a job of an open window is taken up by
    /// no later run, which asks for more.
    fn asked_range(&self) -> Window {
        let margin = to_delta(self.bench.config.window.margin);
        let range = self.planned.window.widen(margin);
        // The vendor's times have milliseconds.
        let now = self.bench.context.now.trunc_subsecs(3);
        Window::try_new(range.start(), range.end().min(now)).unwrap_or(range)
    }

    /// Downloads and assembles at once.
    async fn assemble(&self, job: &FinishedJob) -> Result<(Assembled, JobBooks), PipelineError> {
        let window = self.planned.window;
        // Held on both sides, and so to the end of both: where the run stops, the thread may still be reading from it,
        // and where the thread fails, downloads are still being written.
        let folder = Arc::new(self.bench.scratch.subfolder()?);
        let (ready, receiver) = tokio::sync::mpsc::channel(FRAGMENTS_AHEAD);
        let job_id = job.record.job_id.to_string();
        let (first, _) = &self.planned.partitions[0];
        let assembly = self.bench.assembly(
            AppAssignment::Fixed(first.app_id().clone()),
            Some((window, to_delta(self.bench.config.window.margin))),
            Some(job_id.clone()),
            first.clone(),
            folder.path(),
            self.progress,
        );
        let downloads = Downloads {
            receiver,
            job_id: job_id.clone(),
        };
        let path = folder.path().to_owned();
        self.progress.loading(job);
        let held = Arc::clone(&folder);
        let assembling = on_its_own_thread(move || {
            let assembled = assembly.run(downloads);
            drop(held);
            assembled
        });
        let landing = self.landing(job, folder.path());
        let client = match &landing {
            Some(landing) => self.client.landing_in(Arc::clone(landing) as _),
            None => self.client.clone(),
        };
        let (fetched, assembled) =
            tokio::join!(client.fetch_fragments(job, &path, ready), assembling);

        let mut assembled = match (fetched, assembled) {
            // The download stopped because nobody reads it any more; why, the reader knows.
            (Err(ExtractError::ReceiverGone) | Ok(()), Err(error)) => {
                return Err(error);
            }
            (Err(error), _) => return Err(error.into()),
            (Ok(()), Ok(assembled)) => assembled,
        };
        for (key, _) in &self.planned.partitions {
            assembled
                .partitions
                .entry(key.clone())
                .or_insert_with(AssembledPartition::empty);
        }
        assembled.folders.push(folder);
        let facts = JobFacts {
            job_id: Some(job_id),
            window: Some(window),
            as_of: Some(job.record.posted_at),
            promised: job.total_records,
            export_time: job.export_time,
        };
        let books = reconcile(facts, &assembled)?;
        if let Some(landing) = landing {
            landing.complete(job, &books, self.bench.context).await?;
        }
        Ok((self.bench.refuse_if_none_loaded(assembled).await?, books))
    }

    /// Where the fragments of the job are kept as they are fetched, if they are.
    fn landing(&self, job: &FinishedJob, scratch: &Path) -> Option<Arc<WindowLanding>> {
        let (lake, window) = (self.bench.lake.clone(), self.planned.window);
        let landing = || Arc::new(WindowLanding::new(lake, window, job, scratch));
        self.bench.config.landing.keep.then(landing)
    }

    async fn commit(
        &self,
        assembled: Assembled,
        books: JobBooks,
        posted_at: DateTime<Utc>,
    ) -> Result<WindowOutcome, PipelineError> {
        // Within the lag nothing is settled, whatever the settings say of that.
        let window = &self.bench.config.window;
        let settle = to_delta(window.settle.max(window.lag));
        let on_committed = match self.bench.config.window.on_shrink {
            OnShrink::Fail => OnCommitted::ReplaceUnlessShrunk,
            OnShrink::Replace => OnCommitted::Replace,
        };
        let commit_as = |key: &PartitionKey| CommitAs {
            provisional: posted_at < key.window().end() + settle,
            partial: false,
            on_committed,
            earlier_jobs: Vec::new(),
            recheck: self.is_forced,
        };
        let partitions = self
            .bench
            .commit_all(assembled, &books, commit_as, self.progress)
            .await?;
        Ok(WindowOutcome {
            books: Some(books),
            partitions,
        })
    }
}

/// Whether an error says that what was exported is not whole, or cannot be had any more.
fn is_about_content(error: &PipelineError) -> bool {
    use ExtractError::{FragmentCutShort, FragmentEmpty, LinkRefused, RetriesExhausted};
    use PipelineError::{Books, Extract, Fragment, NothingLoaded, WrongRecordCount};
    match error {
        Extract(LinkRefused { .. } | FragmentCutShort { .. } | FragmentEmpty { .. }) => true,
        Extract(RetriesExhausted { source, .. }) => {
            matches!(
                **source,
                LinkRefused { .. } | FragmentCutShort { .. } | FragmentEmpty { .. }
            )
        }
        Fragment { source, .. } => source.is_retryable(),
        WrongRecordCount { .. } | Books { .. } | NothingLoaded { .. } => true,
        _ => false,
    }
}

impl Tally {
    fn add_window(
        &mut self,
        planned: &PlannedWindow,
        outcome: Result<WindowOutcome, PipelineError>,
    ) {
        let WindowOutcome { books, partitions } = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                if matches!(error, PipelineError::Stopped) {
                    tracing::info!(window = %planned.window, "window left to the next run");
                } else {
                    tracing::error!(window = %planned.window, error = crate::error::chain(&error), "window failed");
                }
                let keys: Vec<_> = planned
                    .partitions
                    .iter()
                    .map(|(key, _)| key.clone())
                    .collect();
                self.fail(&keys, &error);
                return;
            }
        };
        if let Some(books) = &books {
            self.add_job(books);
        }
        for (key, outcome) in partitions {
            self.add_partition(&key, outcome);
        }
    }
}
