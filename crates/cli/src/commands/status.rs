//! `answerlake status`

use std::fmt::Write;
use std::io::{IsTerminal, stdout};
use std::path::PathBuf;

use answerlake_model::{Grain, Table};
use answerlake_pipeline::config::HumanDuration;
use answerlake_pipeline::freshness::{FreshnessStatus, Verdict};
use answerlake_pipeline::problem::Problem;
use answerlake_pipeline::status::{AppStatus, Health, PartitionStatus, Stretch};
use answerlake_pipeline::{StatusReport, StatusRequest};
use chrono::Utc;
use clap::Args;

use super::answer::{Answer, Invocation, answer};
use crate::args::{RangeArgs, ResultArgs, SettingArgs};
use crate::calendar::{Color, calendar, legend};
use crate::output::{Exit, bytes, grouped};
use crate::paragraph::{COLUMNS, listed, wrapped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake status --lake ./lake
  answerlake status pipelines/support.toml --from 2025-06-01 --list
  answerlake status pipelines/support.toml --check || mail -s 'answerlake' on-call@example.com

The calendar has a line a month and a character a day: # committed, 0 committed and empty, ~ provisional (late \
records may still come), % partial (nothing proves it complete), - not due yet; and in capitals what wants somebody: \
M missing, F failed, B broken (files of it are nowhere). With hourly grain a day shows its worst hour; --list has \
the hours.

Without an app, all apps of the lake are shown. Without a range, from window.start, or else the first partition there \
is, until now. Credentials are not needed.

Problems, and with them exit code 3 under --check: partitions that failed when they were last tried, that are broken \
or missing, commits that are unfinished for more than an hour, and newest data that is older than --max-age. Days \
after the newest one have until --max-age to come. Provisional and partial days are no problem; those that the \
lookback does not reach any more are said, with what ends that.

Late records are those that were not there when their day was read first: how many came, and how late at the least, \
is added up from the manifests. Where the last read of a day still found some, the lookback is said to be too short.")]
pub(crate) struct StatusArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// A line for each partition, in place of the calendar; in JSON, all partitions
    #[arg(long)]
    pub(crate) list: bool,
    /// Exit with 3 when there are problems
    #[arg(long)]
    pub(crate) check: bool,
    /// How old the newest data may be
    #[arg(long, value_name = "DURATION", default_value = "26h")]
    pub(crate) max_age: HumanDuration,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &StatusArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let request = StatusRequest {
            range: (&args.range).into(),
            max_age: args.max_age.0,
        };
        let mut report = answerlake_pipeline::status(&config, &request, Utc::now()).await?;
        let text = text(&report, args);
        if !args.list {
            for app in &mut report.apps {
                app.partitions = Vec::new();
            }
        }
        let exit = match report.status {
            Health::Problems if args.check => Exit::SomeFailed,
            _ => Exit::Done,
        };
        Ok(Answer {
            text,
            result: report,
            exit,
        })
    })
}

fn text(report: &StatusReport, args: &StatusArgs) -> String {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = if stdout().is_terminal() && !no_color {
        Color::Always
    } else {
        Color::Never
    };
    let invocation = Invocation {
        pipeline: args.pipeline.as_deref(),
        settings: &args.settings,
    };
    let mut text = String::new();
    if !report.exists {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "There is no lake at `{}` yet.\n", report.lake);
    }
    for app in &report.apps {
        let _ = writeln!(text, "{}", app.app_id);
        if args.list {
            for partition in &app.partitions {
                text.push_str(&line(partition));
            }
        } else if !app.partitions.is_empty() {
            text.push_str(&calendar(&app.partitions, color));
        }
        text.push_str(&totals(app, report.grain, color));
        text.push_str(&freshness(&app.freshness));
        for stretch in &app.outside_lookback {
            text.push_str(&outside(stretch, report.grain, invocation));
        }
        text.push('\n');
    }
    text.push_str(&problems(report, invocation));
    text
}

/// How late records came, where anything is known of that.
fn freshness(freshness: &FreshnessStatus) -> String {
    let of = |table: Table, word: &str| {
        let records = freshness.late.get(&table).map_or(0, |late| late.records);
        (records > 0).then(|| format!("{} {word}", grouped(records)))
    };
    let late: Vec<_> = [
        of(Table::Queries, "searches"),
        of(Table::Feedback, "feedback"),
        of(Table::Events, "events"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let reread = age(i64::try_from(freshness.reread_seconds).unwrap_or(i64::MAX));
    let latest = age(freshness.latest_seconds);
    let said = match (freshness.verdict, late.is_empty()) {
        (Verdict::Unknown, true) => return String::new(),
        (Verdict::Unknown, false) => format!(
            "late: {}, the last at least {latest} after it was made; whether a lookback of {reread} is long enough is \
             not known yet",
            late.join(", ")
        ),
        (Verdict::Enough, true) => {
            format!("late: nothing; a lookback of {reread} is long enough")
        }
        (Verdict::Enough, false) => format!(
            "late: {}, the last at least {latest} after it was made; a lookback of {reread} is long enough",
            late.join(", ")
        ),
        (Verdict::TooShort, _) => format!(
            "late: {}, the last at least {latest} after it was made: a lookback of {reread} is too short, later ones \
             are missed. Give more as window.lookback and window.settle",
            late.join(", ")
        ),
    };
    wrapped(&said, COLUMNS).join("\n") + "\n"
}

fn line(partition: &PartitionStatus) -> String {
    let mut line = format!("{:13}  {:11}", partition.partition, partition.state.name());
    if let Some(committed) = &partition.committed {
        let unpublished = if committed.published {
            ""
        } else {
            "  unpublished"
        };
        let _ = write!(
            line,
            "  r{:<3} {:>9} records {:>9}  {}{unpublished}",
            committed.revision,
            grouped(committed.records),
            bytes(committed.bytes),
            minutes(&committed.committed_at)
        );
    }
    let mut text = line.trim_end().to_owned() + "\n";
    if let Some(failure) = &partition.failure {
        for more in wrapped(&failure.error, COLUMNS - 15) {
            let _ = writeln!(text, "{:15}{more}", "");
        }
    }
    text
}

fn totals(app: &AppStatus, grain: Grain, color: Color) -> String {
    let mut text = String::new();
    if app.counts.is_empty() {
        return "nothing is known of it; where to start is not said either\n".to_owned();
    }
    // Colours take no columns, so the legend is laid out without them.
    let plain = listed(&legend(&app.counts, Color::Never), "   ", "");
    text.push_str(&match color {
        Color::Never => plain,
        Color::Always => legend(&app.counts, color).join("   ") + "\n",
    });
    let Some(newest) = &app.newest else {
        return text;
    };
    let rows: Vec<_> = app
        .rows
        .iter()
        .map(|(table, rows)| format!("{table} {}", grouped(*rows)))
        .collect();
    text.push_str(&listed(&rows, ", ", "rows    "));
    let unit = match grain {
        Grain::Day => "day",
        Grain::Hour => "hour",
    };
    let _ = writeln!(
        text,
        "records {} in {}; newest {unit} {}, until {} ago",
        grouped(app.records),
        bytes(app.bytes),
        newest.partition,
        age(newest.age_seconds)
    );
    text
}

fn outside(stretch: &Stretch, grain: Grain, invocation: Invocation<'_>) -> String {
    let said = span(&stretch.from, &stretch.to, stretch.partitions, grain);
    let text = format!("left: {said} not final, and before the lookback; to end that:");
    let mut text = wrapped(&text, COLUMNS).join("\n") + "\n";
    let _ = writeln!(text, "  {}", invocation.command("run", &stretch.arguments));
    text
}

fn problems(report: &StatusReport, invocation: Invocation<'_>) -> String {
    if report.problems.is_empty() {
        return "no problems\n".to_owned();
    }
    let mut text = "Problems:\n".to_owned();
    let has_many_apps = report.apps.len() > 1;
    for problem in &report.problems {
        let mut head = problem.kind.name().to_owned();
        if let (Some(from), Some(to)) = (&problem.from, &problem.to) {
            let _ = write!(
                head,
                ": {}",
                span(from, to, problem.partitions, report.grain)
            );
        }
        if let Some(app_id) = problem.app_id.as_ref().filter(|_| has_many_apps) {
            let _ = write!(head, ", app {app_id}");
        }
        let _ = writeln!(text, "  {head}");
        text.push_str(&details(problem, invocation));
    }
    text
}

fn details(problem: &Problem, invocation: Invocation<'_>) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        for line in wrapped(line, COLUMNS - 4) {
            let _ = writeln!(text, "    {line}");
        }
    };
    say(&problem.message);
    if let (Some(at), Some(run_id)) = (&problem.at, &problem.run_id) {
        let again = if problem.retryable {
            "the same again may succeed"
        } else {
            "the same again will fail"
        };
        say(&format!("at {} UTC, run {run_id}; {again}", minutes(at)));
    }
    if let Some(hint) = &problem.hint {
        say(&format!("hint: {hint}"));
    }
    if let Some(name) = problem.command {
        let _ = writeln!(text, "    {}", invocation.command(name, &problem.arguments));
    }
    text
}

/// `2025-06-01`, or `2025-06-01 to 2025-06-03 (3 days)`.
fn span(from: &str, to: &str, partitions: usize, grain: Grain) -> String {
    let last = to.parse::<chrono::DateTime<Utc>>().map_or_else(
        |_| to.to_owned(),
        |end| (end - grain.duration()).to_rfc3339(),
    );
    let short = |text: &str| match grain {
        Grain::Day => text.get(..10).unwrap_or(text).to_owned(),
        Grain::Hour => text.get(..13).unwrap_or(text).to_owned(),
    };
    let unit = match grain {
        Grain::Day => "days",
        Grain::Hour => "hours",
    };
    match partitions {
        1 => short(from),
        count => format!("{} to {} ({count} {unit})", short(from), short(&last)),
    }
}

/// `2025-06-01 12:30` of an instant in ISO 8601.
fn minutes(instant: &str) -> String {
    instant
        .get(..16)
        .map_or_else(|| instant.to_owned(), |text| text.replace('T', " "))
}

fn age(seconds: i64) -> String {
    match seconds {
        seconds if seconds < 2 * 3600 => format!("{} min", seconds / 60),
        seconds if seconds < 96 * 3600 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
