//! `answerlake plan`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use answerlake_pipeline::plan::{PlannedWindow, Reason};
use answerlake_pipeline::work_list::slot_name;
use answerlake_pipeline::{RunRequest, WorkList, plan_run};
use chrono::{DateTime, Utc};
use clap::Args;

use super::answer::{Answer, answer};
use crate::args::{RangeArgs, ResultArgs, SettingArgs};
use crate::output::{Exit, grouped};
use crate::paragraph::{listed, wrapped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake plan pipelines/support.toml
  answerlake plan pipelines/support.toml --from 2025-06-01 --to 2025-07-01
  answerlake plan pipelines/support.toml --workers 4 --output json

Nothing is asked of the source and nothing is written; credentials are not needed. Without a range, all since \
window.start until now, less the lag. Partitions are read that are \
uncommitted, provisional (read before they had settled), partial (nothing proves them complete), broken (files of \
them are nowhere), forced, strays (records that came with another day's window are to join them, without an export) \
or in_flight (settled, in a window whose job is at the source already). How long an export takes is told by those before it, and is `?` (null) where none was \
seen through.

With --output json: one line, a list of at most 1,000 entries, for Airflow's task mapping or any other orchestrator. \
Each has app_id, from, to, partitions, reasons, predicted_seconds and arguments; a worker runs
  answerlake run pipelines/support.toml ARGUMENTS…
with the same settings. Entries are independent of one another, and all of them together do what the run would have \
done. --workers N divides the rate limits among N that run at once.")]
pub(crate) struct PlanArgs {
    /// Pipeline file, TOML; not needed when --app-id and --lake are given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Plan partitions of the range that are settled, too
    #[arg(long)]
    pub(crate) force: bool,
    /// Plan partitions that have not ended, or not long enough ago, too
    #[arg(long)]
    pub(crate) include_open: bool,
    /// Workers that will run entries at once: each is given its share of the rate limits
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: u32,
    /// Exit code when there is nothing to do, such as 99 for Airflow to skip the task [default: 0]
    #[arg(long, value_name = "CODE")]
    pub(crate) skip_exit_code: Option<u8>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &PlanArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let request = RunRequest {
            range: (&args.range).into(),
            force: args.force,
            include_open: args.include_open,
        };
        let list = plan_run(&config, &request, Utc::now()).await?;
        let exit = match args.skip_exit_code {
            Some(code) if list.windows.is_empty() => Exit::Skipped(code),
            _ => Exit::Done,
        };
        Ok(Answer {
            text: text(&list),
            result: list.entries(args.workers),
            exit,
        })
    })
}

fn text(list: &WorkList) -> String {
    let mut text = format!("{}\n", list.app_id);
    if !list.windows.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\n{:16}  {:16}  {:32}  {:>8}",
            "from", "to, not included", "why", "export"
        );
    }
    for (planned, predicted) in &list.windows {
        let _ = writeln!(text, "{}", line(planned, *predicted));
    }
    let partitions: usize = list.reasons().values().sum();
    let _ = match (list.windows.len(), partitions) {
        (0, _) => writeln!(text, "nothing to do"),
        (windows, partitions) => writeln!(
            text,
            "\n{}, {}: {}",
            counted(windows, "window"),
            counted(partitions, "partition"),
            reasons(&list.reasons()),
        ),
    };
    if !list.windows.is_empty() {
        text.push_str(&export_times(list));
    }
    text.push_str(&not_due(list));
    text
}

fn line(planned: &PlannedWindow, predicted: Option<Duration>) -> String {
    let instant = |time: DateTime<Utc>| {
        let text = time.format("%Y-%m-%dT%H:%M").to_string();
        text.strip_suffix("T00:00").unwrap_or(&text).to_owned()
    };
    let mut counts = BTreeMap::new();
    for (_, reason) in &planned.partitions {
        *counts.entry(*reason).or_default() += 1;
    }
    let why = reasons(&counts);
    let export = predicted.map_or_else(|| "?".to_owned(), about);
    let (from, to) = (
        instant(planned.window.start()),
        instant(planned.window.end()),
    );
    let mut lines = wrapped(&why, 32).into_iter();
    let first = lines.next().unwrap_or_default();
    let mut line = format!("{from:16}  {to:16}  {first:32}  {export:>8}");
    for more in lines {
        let _ = write!(line, "\n{:36}{more}", "");
    }
    line
}

fn reasons(counts: &BTreeMap<Reason, usize>) -> String {
    let named: Vec<_> = counts
        .iter()
        .map(|(reason, count)| match count {
            1 if counts.len() == 1 => reason.name().to_owned(),
            count => format!("{count} {}", reason.name()),
        })
        .collect();
    named.join(", ")
}

fn export_times(list: &WorkList) -> String {
    let (one_by_one, wall, unknown) = list.export_times();
    let mut parts = Vec::new();
    if unknown < list.windows.len() {
        parts.push(format!(
            "exports take about {:.1} job minutes, {} at jobs.concurrency {}",
            one_by_one.as_secs_f64() / 60.0,
            about(wall),
            list.jobs_at_once
        ));
    }
    match unknown {
        0 => {}
        unknown if unknown == list.windows.len() => parts.push(
            "how long exports take is not known: the lake holds none that was seen through"
                .to_owned(),
        ),
        unknown => parts.push(format!("of {unknown} more it is not known")),
    }
    listed(&parts, "; ", "")
}

fn not_due(list: &WorkList) -> String {
    let (Some(first), Some(next)) = (list.not_due.first(), list.next_due) else {
        return String::new();
    };
    let parts = [
        format!("not due yet: {}", counted(list.not_due.len(), "partition")),
        format!(
            "the first, {}, is due from {} UTC on",
            slot_name(first),
            next.format("%Y-%m-%d %H:%M")
        ),
    ];
    listed(&parts, "; ", "")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count as u64))
}

/// A span in the unit that fits.
fn about(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 99.95 => format!("{seconds:.1} s"),
        seconds if seconds < 99.0 * 60.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
