//! The commands, one a file, and what several of them need.

// Bring all that is due from the source into the lake.
pub(crate) mod run;
// What a run would ask for.
pub(crate) mod plan;
// What is in the lake.
pub(crate) mod status;
// Is it what was committed.
pub(crate) mod verify;
// Finish what killed runs left.
pub(crate) mod recover;
// Remove what nobody needs any more.
pub(crate) mod vacuum;
// What those have in common.
mod answer;
// Will a run work from here.
pub(crate) mod doctor;
// Bring fragments that are at hand into the lake.
pub(crate) mod ingest;
// Write the records back out of the lake.
pub(crate) mod restore;
// Remove the records of a person.
pub(crate) mod forget;
// Print the tables, column by column.
pub(crate) mod schema;
// Print what drifted from them.
mod drift;
// List the files that readers may take.
pub(crate) mod files;
// Tell a consumer what to load again.
pub(crate) mod changes;
// Print SQL that creates tables and views.
pub(crate) mod ddl;
// Serve the export API on this machine.
pub(crate) mod emulate;
// Run against an emulated source and show what comes out.
pub(crate) mod demo;
// Write a pipeline file to start from.
pub(crate) mod init;
// Print a script for a shell.
pub(crate) mod completions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use answerlake_model::RunId;
use answerlake_pipeline::config::Override;
use answerlake_pipeline::{PipelineConfig, PipelineError, RunContext, RunReport, RunStatus};
use anyhow::Context;
use chrono::Utc;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::args::ResultArgs;
use crate::output::{Exit, print_report, write_json};
use crate::progress::Bars;
use crate::screen::Screen;

/// Threads for what waits; what computes has threads of its own.
fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// The settings of a command: of its pipeline file, if there is one, and those given beside it.
fn pipeline(file: Option<&Path>, given: &[Override]) -> Result<PipelineConfig, PipelineError> {
    Ok(PipelineConfig::load(file, given)?.with_store_variables(variables()))
}

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// An environment variable that is not empty.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Scratch, where the settings name none.
fn default_scratch() -> PathBuf {
    variable("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// What a run is told, by the clock and the environment.
fn run_context() -> anyhow::Result<RunContext> {
    let orchestrator =
        variables().filter(|(name, value)| name.starts_with("AIRFLOW_CTX_") && !value.is_empty());
    Ok(RunContext {
        run_id: RunId::try_new(&Uuid::now_v7().to_string())?,
        now: Utc::now(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        orchestrator: orchestrator.collect(),
        default_scratch: default_scratch(),
        stop: CancellationToken::new(),
        progress: Arc::default(),
    })
}

/// Runs `work` to its report, and prints that. A first SIGINT or SIGTERM stops it in good order, a second at once.
fn execute<F>(
    result: &ResultArgs,
    skip_exit_code: Option<u8>,
    screen: Option<&Arc<Screen>>,
    work: impl FnOnce(RunContext) -> F,
) -> anyhow::Result<Exit>
where
    F: Future<Output = Result<RunReport, PipelineError>>,
{
    let began = Instant::now();
    let context = run_context()?;
    let (run_id, started_at, stop) = (context.run_id.clone(), context.now, context.stop.clone());
    let bars = screen.map(|screen| Bars::draw(screen, Arc::clone(&context.progress)));
    let runtime = runtime()?;
    let said = "stopping: what is being committed is finished, the rest is left to the next run";
    let (report, stopped_by) = runtime.block_on(until_stopped(work(context), &stop, said))?;
    // A thread that still reads a window which was given up ends by itself, soon; who is told twice does not wait.
    let patience = if matches!(report, Err(PipelineError::StoppedAtOnce)) {
        Duration::ZERO
    } else {
        Duration::from_secs(5)
    };
    runtime.shutdown_timeout(patience);
    // The result comes last, on a clean screen.
    drop(bars);
    let report = report.unwrap_or_else(|error| {
        RunReport::of_error(run_id.as_str(), started_at, Utc::now(), &error)
    });
    let written = result.result_file().map_or(Ok(()), |path| {
        write_json(&report, path)
            .with_context(|| format!("cannot write the result to `{}`", path.display()))
    });
    if let Err(error) = &written {
        tracing::error!(error = format!("{error:#}"), "the result file is missing");
    }
    print_report(&report, result.output.output, began.elapsed())?;
    // A run that was done before it could stop is done.
    Ok(match (stopped_by, Exit::of(&report)) {
        (Some(signal), exit) if exit != Exit::Done => signal,
        (_, Exit::Done) if written.is_err() => Exit::Unexpected,
        (_, Exit::Done) if report.status == RunStatus::NothingToDo => {
            skip_exit_code.map_or(Exit::Done, Exit::Skipped)
        }
        (_, exit) => exit,
    })
}

/// Awaits `work`. A first SIGINT or SIGTERM tells it to stop, which is `said`; a second one does not wait for it.
async fn until_stopped<T>(
    work: impl Future<Output = Result<T, PipelineError>>,
    stop: &CancellationToken,
    said: &str,
) -> anyhow::Result<(Result<T, PipelineError>, Option<Exit>)> {
    let mut signals = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut stopped_by = None;
    let mut work = std::pin::pin!(work);
    loop {
        let exit = tokio::select! {
            done = &mut work => return Ok((done, stopped_by)),
            _ = signals.0.recv() => Exit::Interrupted,
            _ = signals.1.recv() => Exit::Terminated,
        };
        if stopped_by.is_some() {
            return Ok((Err(PipelineError::StoppedAtOnce), Some(exit)));
        }
        tracing::warn!("{said}");
        stop.cancel();
        stopped_by = Some(exit);
    }
}
