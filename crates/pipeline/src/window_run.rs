//! One window on its way: from its jobs to the partitions that they bring.
//!
//! Nothing of a window is committed before its books balance. What does not agree with itself is fetched again from the
//! same job, then exported again, and then fails the window, with the numbers.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use answerlake_extract::{ExportClient, ExtractError, FinishedJob, JobStore, SourceConfig};
use answerlake_load::{OnCommitted, PartitionSummary};
use answerlake_model::{JobBooks, PartitionBooks, PartitionKey, Window};
use answerlake_transform::AppAssignment;
use chrono::{DateTime, SubsecRound, Utc};
use tokio::sync::mpsc;

use crate::assemble::{Assembled, AssembledPartition, Assembly};
use crate::bridge::{Downloads, Exported, Fragment, JobDownloads, on_its_own_thread};
use crate::config::OnShrink;
use crate::error::{PipelineError, chain};
use crate::landing::WindowLanding;
use crate::plan::{PlannedWindow, to_delta};
use crate::progress::WindowProgress;
use crate::reconcile::{JobFacts, reconcile};
use crate::report::{PartitionReport, PartitionState};
use crate::state::{LakeJobs, Wanted};
use crate::strays::Strays;
use crate::union::Union;
use crate::workbench::{CommitAs, PartitionOutcome, Workbench};

/// Fragments that wait, downloaded, for the one being read.
const FRAGMENTS_AHEAD: usize = 4;

/// How often a window is exported before it fails for what it holds, and how often an export is fetched.
const EXPORTS: u32 = 2;
const FETCHES: u32 = 2;

/// One window on its way.
pub(crate) struct WindowRun<'r> {
    pub(crate) bench: &'r Workbench<'r>,
    pub(crate) client: ExportClient,
    pub(crate) source: &'r SourceConfig,
    pub(crate) planned: &'r PlannedWindow,
    /// What was committed when it was planned.
    pub(crate) states: &'r BTreeMap<PartitionKey, PartitionSummary>,
    pub(crate) is_forced: bool,
    pub(crate) progress: &'r Arc<WindowProgress>,
}

/// What came of a window.
#[derive(Default)]
pub(crate) struct WindowOutcome {
    /// The books of its jobs; none where another run had brought it meanwhile.
    pub(crate) books: Vec<JobBooks>,
    pub(crate) partitions: Vec<(PartitionKey, PartitionOutcome)>,
}

impl WindowOutcome {
    /// Whether all its partitions are in the lake now.
    pub(crate) fn is_brought(&self) -> bool {
        self.partitions
            .iter()
            .all(|(_, partition)| partition.committed.is_ok())
    }

    /// Whether its jobs are of no more use.
    fn is_spent(&self) -> bool {
        self.partitions
            .iter()
            .all(|(_, partition)| is_spent(&partition.committed))
    }
}

/// Why nothing came of it.
pub(crate) struct WindowFailure {
    pub(crate) error: PipelineError,
    /// What of it the source did not manage, if that is why.
    pub(crate) too_much: Option<Window>,
}

impl From<PipelineError> for WindowFailure {
    fn from(error: PipelineError) -> Self {
        Self {
            error,
            too_much: None,
        }
    }
}

/// A part of the window, exported.
struct Part {
    window: Window,
    job: FinishedJob,
}

/// What was tried already.
#[derive(Default)]
struct Tried {
    exports: u32,
    fetches: u32,
    /// How long exports took, of jobs that are asked again.
    export_times: BTreeMap<String, Duration>,
}

impl WindowRun<'_> {
    pub(crate) async fn run(&self) -> Result<WindowOutcome, WindowFailure> {
        let wanted = Wanted {
            partitions: &self.planned.partitions,
            seen: self.states,
        };
        let jobs = LakeJobs::new(&self.bench.lake, &self.bench.context.run_id, wanted);
        let mut tried = Tried::default();
        let mut kept = Union::default();
        loop {
            let Some(parts) = self.export(&jobs, &mut tried).await? else {
                return Ok(self.brought_by_another().await?);
            };
            let strays = Strays::of(&self.bench.lake, self.app_id()).await;
            let strays = strays.map_err(PipelineError::from)?;
            let (assembled, books) = match self
                .until_stopped(self.assemble(&parts, &strays, &kept), async {})
                .await
            {
                // A source that repeats records while it pages through them may have skipped others.
                Ok((_, books)) if has_duplicates(&books) && tried.exports + 1 < EXPORTS => {
                    let duplicates: u64 = books.iter().map(|job| job.duplicates).sum();
                    tracing::warn!(window = %self.planned.window, duplicates, "exported again");
                    tried.exports += 1;
                    self.forget(&jobs, &parts).await?;
                    continue;
                }
                Ok(done) => done,
                Err(error) if is_about_content(&error) => {
                    self.try_again(&jobs, &parts, &mut tried, error).await?;
                    continue;
                }
                Err(error) => return Err(self.failure(&jobs, &parts, error).await?),
            };
            let mut outcome = self.commit(assembled, books, &strays, &kept).await?;
            if self.keeps_what_shrank(&mut outcome, &mut kept).await? {
                continue;
            }
            // A job whose partition could not be committed is taken up by the next run, unless the fault is in what
            // it brought.
            if outcome.is_spent() {
                self.forget(&jobs, &parts).await?;
            }
            return Ok(outcome);
        }
    }

    fn app_id(&self) -> &answerlake_model::AppId {
        &self.source.app_id
    }

    /// Has the same fetched again, or else exported again.
    ///
    /// # Errors
    /// Why it is to be, where both were tried.
    async fn try_again(
        &self,
        jobs: &LakeJobs<'_>,
        parts: &[Part],
        tried: &mut Tried,
        error: PipelineError,
    ) -> Result<(), WindowFailure> {
        let window = &self.planned.window;
        self.client.count_retry();
        tried.fetches += 1;
        if tried.fetches < FETCHES {
            tracing::warn!(%window, error = chain(&error), "fetched again");
            return Ok(());
        }
        // The same job would give the same again: this run or the next exports anew.
        self.forget(jobs, parts).await?;
        tried.fetches = 0;
        tried.exports += 1;
        if tried.exports == EXPORTS {
            return Err(self.failure(jobs, parts, error).await?);
        }
        tracing::warn!(%window, error = chain(&error), "exported again");
        Ok(())
    }

    /// What fails the window when its parts are exported, and which of them was too much, if that is why: the longest.
    async fn failure(
        &self,
        jobs: &LakeJobs<'_>,
        parts: &[Part],
        error: PipelineError,
    ) -> Result<WindowFailure, PipelineError> {
        let longest = parts.iter().max_by_key(|part| part.window.duration());
        let too_much = longest.filter(|_| is_too_much(&error));
        if let Some(part) = too_much {
            self.forget_what_nobody_asks_for(jobs, parts, &part.window)
                .await?;
        }
        Ok(WindowFailure {
            too_much: too_much.map(|part| part.window),
            error,
        })
    }

    /// Forgets the job of a part that was too much, where it will be asked for as less. Where it will not, and the window
    /// fails, the next run asks for the window as a whole: then the jobs of all its parts.
    async fn forget_what_nobody_asks_for(
        &self,
        jobs: &LakeJobs<'_>,
        parts: &[Part],
        failed: &Window,
    ) -> Result<(), PipelineError> {
        let is_halved = self.planned.halved(failed).is_some();
        if !is_halved && *failed == self.planned.window {
            return Ok(());
        }
        if let Some(range) = self.asked_range(failed) {
            jobs.forget_all(&self.source.request(range)).await?;
        }
        if !is_halved {
            self.forget(jobs, parts).await?;
        }
        Ok(())
    }

    /// With `on_shrink = "keep"`: takes note of the partitions that hold records which the jobs do not bring. Whether
    /// there are any, so that all is to be assembled once more with these.
    async fn keeps_what_shrank(
        &self,
        outcome: &mut WindowOutcome,
        kept: &mut Union,
    ) -> Result<bool, PipelineError> {
        if self.bench.config.window.on_shrink != OnShrink::Keep || !kept.is_empty() {
            return Ok(false);
        }
        for (key, partition) in &outcome.partitions {
            let Err(PipelineError::Shrunk { lost, .. }) = &partition.committed else {
                continue;
            };
            if let Some(state) = self.bench.lake.state(key).await? {
                tracing::warn!(partition = %key, lost, "records that are not exported any more are kept");
                kept.add(key, state);
            }
        }
        Ok(!kept.is_empty())
    }

    /// What the partitions hold that another run has committed since they were planned.
    async fn brought_by_another(&self) -> Result<WindowOutcome, PipelineError> {
        tracing::info!(window = %self.planned.window, "another run has brought it meanwhile");
        let mut outcome = WindowOutcome::default();
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
            let partition = PartitionOutcome {
                books: PartitionBooks::default(),
                committed: Ok((report, 0)),
            };
            outcome.partitions.push((key.clone(), partition));
        }
        Ok(outcome)
    }

    async fn forget(&self, jobs: &LakeJobs<'_>, parts: &[Part]) -> Result<(), PipelineError> {
        for part in parts {
            let forgotten = jobs.forget(&part.job.record).await;
            forgotten.map_err(|source| ExtractError::JobStore {
                action: "forgotten",
                source,
            })?;
        }
        Ok(())
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

    /// The finished jobs of all parts, one after the other; `None` where another run has brought the window meanwhile.
    async fn export(
        &self,
        jobs: &LakeJobs<'_>,
        tried: &mut Tried,
    ) -> Result<Option<Vec<Part>>, WindowFailure> {
        let mut parts: Vec<Part> = Vec::new();
        while let Some(window) = self.planned.parts.get(parts.len()).copied() {
            // Of a window that is open, nothing is asked that is still to come.
            let Some(range) = self.asked_range(&window) else {
                break;
            };
            let request = self.source.request(range);
            let exporting = async { Ok(self.client.run_job(&request, jobs).await?) };
            match self.until_stopped(exporting, jobs.settle()).await {
                Ok(None) => return Ok(None),
                Ok(Some(mut job)) => {
                    log_export(&window, &job);
                    let known = tried.export_times.entry(job.record.job_id.to_string());
                    job.export_time = job.export_time.or(match known {
                        std::collections::btree_map::Entry::Occupied(known) => Some(*known.get()),
                        std::collections::btree_map::Entry::Vacant(unknown) => {
                            job.export_time.map(|time| *unknown.insert(time))
                        }
                    });
                    parts.push(Part { window, job });
                }
                // What the job says of itself does not agree. It was asked twice, and is forgotten.
                Err(error) if is_about_content(&error) && tried.exports + 1 < EXPORTS => {
                    tracing::warn!(%window, error = chain(&error), "exported again");
                    tried.exports += 1;
                }
                Err(error) => {
                    let too_much = is_too_much(&error).then_some(window);
                    if too_much.is_some() {
                        self.forget_what_nobody_asks_for(jobs, &parts, &window)
                            .await?;
                    }
                    return Err(WindowFailure { error, too_much });
                }
            }
        }
        Ok(Some(parts))
    }

    /// A part with its margin, as it is asked for: nothing of the future. So a job of an open window is taken up by no
    /// later run, which asks for more.
    fn asked_range(&self, part: &Window) -> Option<Window> {
        let range = part.widen(to_delta(self.bench.config.window.margin));
        // The vendor's times have milliseconds.
        let now = self.bench.context.now.trunc_subsecs(3);
        (part.start() < now)
            .then(|| Window::try_new(range.start(), range.end().min(now)).ok())
            .flatten()
    }

    /// Downloads and assembles at once, with the strays of the partitions, and what of them is to be kept.
    async fn assemble(
        &self,
        parts: &[Part],
        strays: &Strays,
        kept: &Union,
    ) -> Result<(Assembled, Vec<JobBooks>), PipelineError> {
        // Held on both sides, and so to the end of both: where the run stops, the thread may still be reading from it,
        // and where the thread fails, downloads are still being written.
        let folder = Arc::new(self.bench.scratch.subfolder()?);
        let assembly = self.assembly(folder.path());
        let (mut senders, mut downloads) = (Vec::new(), VecDeque::new());
        let mut fragments = 0;
        // The latest first, as the source has its records: rows then stand as one export of the whole would bring them.
        for (place, part) in parts.iter().enumerate().rev() {
            let (ready, receiver) = mpsc::channel(FRAGMENTS_AHEAD);
            let path = folder.path().join(format!("job-{place}"));
            std::fs::create_dir(&path).map_err(|source| PipelineError::Scratch {
                action: "create",
                path: path.clone(),
                source,
            })?;
            senders.push((place, &part.job, path, ready));
            downloads.push_back(JobDownloads {
                receiver,
                job: Arc::new(self.exported(place, part)),
                before: fragments,
            });
            fragments += part.job.fragments.len() as u32;
        }
        let joined = self
            .joined(strays, kept, folder.path(), fragments + 1)
            .await?;
        let downloads = Downloads {
            jobs: downloads,
            joined: joined.into_iter(),
        };
        self.progress.loading(parts.iter().map(|part| &part.job));
        let held = Arc::clone(&folder);
        let assembling = on_its_own_thread(move || {
            let assembled = assembly.run(downloads);
            drop(held);
            assembled
        });
        let landings: Vec<_> = parts
            .iter()
            .map(|part| self.landing(part, folder.path()))
            .collect();
        let fetching = async {
            for (place, job, path, ready) in senders {
                let client = match &landings[place] {
                    Some(landing) => self.client.landing_in(Arc::clone(landing) as _),
                    None => self.client.clone(),
                };
                client.fetch_fragments(job, &path, ready).await?;
            }
            Ok(())
        };
        let (fetched, assembled) = tokio::join!(fetching, assembling);

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
        let facts = parts.iter().map(|part| self.facts(part)).collect();
        let books = reconcile(facts, &assembled)?;
        for ((landing, part), books) in landings.iter().zip(parts).zip(&books) {
            if let Some(landing) = landing {
                let context = self.bench.context;
                landing.complete(&part.job, books, context).await?;
            }
        }
        Ok((self.bench.refuse_if_none_loaded(assembled).await?, books))
    }

    /// Where the fragments of a job are kept as they are fetched, if they are.
    fn landing(&self, part: &Part, scratch: &Path) -> Option<Arc<WindowLanding>> {
        let lake = self.bench.lake.clone();
        let landing = || Arc::new(WindowLanding::new(lake, part.window, &part.job, scratch));
        self.bench.config.landing.keep.then(landing)
    }

    fn assembly(&self, folder: &Path) -> Assembly {
        let (first, _) = &self.planned.partitions[0];
        let margin = to_delta(self.bench.config.window.margin);
        self.bench.assembly(
            AppAssignment::Fixed(first.app_id().clone()),
            Some((self.planned.window, margin)),
            first.clone(),
            folder,
            self.progress,
        )
    }

    fn exported(&self, place: usize, part: &Part) -> Exported {
        Exported {
            place,
            job_id: part.job.record.job_id.to_string(),
            part: (part.window != self.planned.window).then_some(part.window),
            as_of: Some(part.job.record.posted_at),
        }
    }

    fn facts(&self, part: &Part) -> JobFacts {
        JobFacts {
            job_id: Some(part.job.record.job_id.to_string()),
            window: Some(part.window),
            as_of: Some(part.job.record.posted_at),
            promised: part.job.total_records,
            export_time: part.job.export_time,
            fit: self.planned.fit,
        }
    }

    /// What joins the records of the jobs, numbered from `first_number` on.
    async fn joined(
        &self,
        strays: &Strays,
        kept: &Union,
        folder: &Path,
        first_number: u32,
    ) -> Result<Vec<Fragment>, PipelineError> {
        let lake = &self.bench.lake;
        let mut joined = kept.restore_to_join(lake, folder, first_number).await?;
        let number = first_number + joined.len() as u32;
        let keys = self.planned.partitions.iter().map(|(key, _)| key);
        joined.extend(strays.fetch(lake, keys, folder, number).await?);
        Ok(joined)
    }

    async fn commit(
        &self,
        assembled: Assembled,
        books: Vec<JobBooks>,
        strays: &Strays,
        kept: &Union,
    ) -> Result<WindowOutcome, PipelineError> {
        // Within the lag nothing is settled, whatever the settings say of that.
        let window = &self.bench.config.window;
        let settle = to_delta(window.settle.max(window.lag));
        let posted_at = books.iter().filter_map(|job| job.as_of).min();
        let on_committed = match window.on_shrink {
            OnShrink::Replace => OnCommitted::Replace,
            OnShrink::Fail | OnShrink::Keep => OnCommitted::ReplaceUnlessShrunk,
        };
        let is_early =
            |key: &PartitionKey, posted_at: DateTime<Utc>| posted_at < key.window().end() + settle;
        let commit_as = |key: &PartitionKey| CommitAs {
            provisional: posted_at.is_none_or(|posted_at| is_early(key, posted_at)),
            partial: false,
            on_committed,
            earlier_jobs: Vec::new(),
            strays: strays.names(key),
            recheck: self.is_forced && kept.is_empty(),
        };
        let partitions = self
            .bench
            .commit_all(assembled, &books, commit_as, self.progress)
            .await?;
        Ok(WindowOutcome { books, partitions })
    }
}

fn log_export(window: &Window, job: &FinishedJob) {
    tracing::info!(
        %window,
        job_id = %job.record.job_id,
        fragments = job.fragments.len(),
        records = job.total_records,
        taken_up = job.taken_up,
        "export finished"
    );
}

fn has_duplicates(books: &[JobBooks]) -> bool {
    books.iter().any(|job| job.duplicates > 0)
}

/// Whether a job has done all it could for a partition.
fn is_spent(committed: &Result<(PartitionReport, u64), PipelineError>) -> bool {
    matches!(
        committed,
        Ok(_) | Err(PipelineError::Shrunk { .. } | PipelineError::Strict { .. })
    )
}

/// Whether an error says that what was exported is not whole, or cannot be had any more.
fn is_about_content(error: &PipelineError) -> bool {
    use PipelineError::{Books, Extract, Fragment, NothingLoaded, WrongRecordCount};
    match error {
        Extract(error) => error.is_about_content(),
        Fragment { source, .. } => source.is_retryable(),
        WrongRecordCount { .. } | Books { .. } | NothingLoaded { .. } => true,
        _ => false,
    }
}

/// Whether less at once may succeed: a job that did not come to its end, or a fragment that did not come whole.
fn is_too_much(error: &PipelineError) -> bool {
    match error {
        PipelineError::Extract(error) => error.may_be_too_much(),
        _ => false,
    }
}
