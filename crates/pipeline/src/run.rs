//! `run`: what is due, window by window, from the source to the lake.
//!
//! Windows are in flight together; one that fails does not stop the others. One that the source does not manage is asked
//! for again as less at once, down to the hour. When all have ended, strays join the partitions that they belong to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use answerlake_extract::{ExportClient, ExtractConfig, JobObserver};
use answerlake_load::PartitionSummary;
use answerlake_model::{PartitionKey, Window};
use chrono::Utc;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::config::PipelineConfig;
use crate::error::{PipelineError, chain};
use crate::failures::FailureNotes;
use crate::landing::clear_old;
use crate::plan::{Plan, PlannedWindow, RunRequest, looked_at, plan};
use crate::progress::WindowProgress;
use crate::report::{PartitionReport, PartitionState, RunReport, Tally};
use crate::state::{clear_jobs, clear_parts, committed, in_flight};
use crate::strays::{Strays, join_strays};
use crate::window_run::{WindowFailure, WindowOutcome, WindowRun};
use crate::workbench::{RunContext, Workbench};

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
    let strays = Strays::of(&bench.lake, app_id).await?;
    let Plan { windows, not_due } = plan(
        app_id,
        &range,
        request,
        &committed(&states, &strays),
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
    let run = Run {
        bench: &bench,
        client: &client,
        extract,
        notes: FailureNotes::open(&bench.lake, app_id, &context.run_id).await,
        states: &states,
        is_forced: request.force,
    };
    run.windows(windows, &mut tally).await;
    run.strays(&looked_at, &mut tally).await;

    let stats = client.stats();
    tally.totals.requests = stats.requests;
    tally.totals.retries = stats.retries;
    tally.totals.bytes_fetched = stats.bytes_fetched;
    Ok(tally.finish(context.run_id.as_str(), context.now, Utc::now()))
}

/// A run that has been planned.
struct Run<'r> {
    bench: &'r Workbench<'r>,
    client: &'r ExportClient,
    extract: &'r ExtractConfig,
    notes: FailureNotes<'r>,
    /// What was committed when it was planned.
    states: &'r BTreeMap<PartitionKey, PartitionSummary>,
    is_forced: bool,
}

impl Run<'_> {
    /// Brings the windows, some at once.
    async fn windows(&self, windows: Vec<PlannedWindow>, tally: &mut Tally) {
        let mut waiting: VecDeque<_> = windows
            .into_iter()
            .filter(|planned| !planned.is_of_strays())
            .collect();
        let progress = &self.bench.context.progress;
        progress.plan(waiting.len());
        let mut in_flight = FuturesUnordered::new();
        // Where even an hour was too much, it is not the size.
        let mut helps_to_halve = true;
        let mut brought = Vec::new();
        loop {
            while in_flight.len() < self.extract.jobs.concurrency
                && let Some(planned) = waiting.pop_front()
            {
                in_flight.push(self.window(planned));
            }
            let Some((planned, window, outcome)) = in_flight.next().await else {
                break;
            };
            if let Err(failure) = &outcome
                && let Some(too_much) = &failure.too_much
            {
                let halves = planned.halved(too_much);
                helps_to_halve &= halves.is_some();
                if let Some(halves) = halves.filter(|_| helps_to_halve) {
                    tracing::warn!(window = %too_much, error = chain(&failure.error), "asking for less at once");
                    progress.plan_more(halves.len() - 1);
                    // Nothing has failed with it: its halves may do.
                    progress.end(&window, 0);
                    for half in halves.into_iter().rev() {
                        waiting.push_front(half);
                    }
                    continue;
                }
            }
            let failed_with_it = outcome.as_ref().map_or(planned.partitions.len(), |_| 0);
            progress.end(&window, failed_with_it);
            let outcome = outcome.map_err(|failure| failure.error);
            self.notes.update(&planned, &outcome).await;
            if outcome.as_ref().is_ok_and(WindowOutcome::is_brought) {
                brought.push(planned.window);
            }
            tally.add_window(&planned, outcome);
        }
        if !brought.is_empty() {
            let app_id = &self.extract.source.app_id;
            let began = self.bench.context.now;
            clear_parts(&self.bench.lake, app_id, self.bench.config, &brought, began).await;
        }
    }

    async fn window(
        &self,
        planned: PlannedWindow,
    ) -> (
        PlannedWindow,
        Arc<WindowProgress>,
        Result<WindowOutcome, WindowFailure>,
    ) {
        let progress = self.bench.context.progress.begin(Some(planned.window));
        let run = WindowRun {
            bench: self.bench,
            client: self
                .client
                .observed_by(Arc::clone(&progress) as Arc<dyn JobObserver>),
            source: &self.extract.source,
            planned: &planned,
            states: self.states,
            is_forced: self.is_forced,
            progress: &progress,
        };
        let outcome = run.run().await;
        (planned, progress, outcome)
    }

    /// Joins strays into the partitions looked at, those that this run brought among them.
    async fn strays(&self, looked_at: &Window, tally: &mut Tally) {
        let joined = join_strays(self.bench, &self.extract.source.app_id, looked_at).await;
        match joined {
            Ok(joined) => {
                for (key, outcome) in joined {
                    // That it could not be read again stays to be told.
                    if tally.has_failed(&key) {
                        continue;
                    }
                    self.notes.update_partition(&key, &outcome).await;
                    tally.add_partition(&key, outcome);
                }
            }
            // They are kept, and the next run looks for them again.
            Err(error) => {
                tracing::error!(error = chain(&error), "strays could not be looked up");
                tally.fail(&[], &error);
            }
        }
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
                    tracing::error!(window = %planned.window, error = chain(&error), "window failed");
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
        self.add_jobs(&books);
        for (key, outcome) in partitions {
            self.add_partition(&key, outcome);
        }
    }
}
