//! Results, on stdout, and the exit code they come with.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use answerlake_model::PerTable;
use answerlake_pipeline::error::{FailureKind, chain};
use answerlake_pipeline::{PartitionReport, PartitionState, PipelineError, RunReport, RunStatus};
use chrono::Utc;
use clap::error::ErrorKind;
use serde::Serialize;
use uuid::Uuid;

use crate::args::{Asked, OutputFormat};
use crate::whole_file::WholeFile;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Unexpected,
    Configuration,
    SomeFailed,
    Refused,
    SourceFailed,
    LakeFailed,
    Interrupted,
    Terminated,
    /// Nothing to do, by the code that was asked for.
    Skipped(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Unexpected => 1,
            Exit::Configuration => 2,
            Exit::SomeFailed => 3,
            Exit::Refused => 4,
            Exit::SourceFailed => 5,
            Exit::LakeFailed => 6,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Skipped(code) => code,
        })
    }
}

impl Exit {
    /// The code for a report.
    pub(crate) fn of(report: &RunReport) -> Self {
        match (report.status, report.failure) {
            (RunStatus::Ok | RunStatus::NothingToDo, _) => Self::Done,
            (RunStatus::Partial, _) => Self::SomeFailed,
            (RunStatus::Failed, Some(FailureKind::Configuration)) => Self::Configuration,
            (RunStatus::Failed, Some(FailureKind::Refused)) => Self::Refused,
            (RunStatus::Failed, Some(FailureKind::Source)) => Self::SourceFailed,
            (RunStatus::Failed, Some(FailureKind::Lake)) => Self::LakeFailed,
            (RunStatus::Failed, _) => Self::Unexpected,
        }
    }
}

/// The signal that ended a command, as the context of its error.
#[derive(Debug)]
pub(crate) struct StoppedBy(pub(crate) Exit);

impl Display for StoppedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Exit::Terminated => "SIGTERM",
            _ => "SIGINT",
        })
    }
}

/// Writes a result to a file: whole, or not at all.
pub(crate) fn write_json(result: &impl Serialize, path: &Path) -> io::Result<()> {
    let file = WholeFile::create(path)?;
    let line = serde_json::to_string(result)? + "\n";
    file.writer()?.write_all(line.as_bytes())?;
    file.finish()
}

/// Prints a report, the very last thing on either stream.
pub(crate) fn print_report(
    report: &RunReport,
    format: OutputFormat,
    took: Duration,
) -> io::Result<()> {
    match format {
        OutputFormat::Json => print(&(serde_json::to_string(report)? + "\n")),
        OutputFormat::Human => {
            print(&human(report, took))?;
            if let Some(error) = &report.error {
                eprint(&format!("error: {error}\n"))?;
            }
            if let Some(hint) = &report.hint {
                eprint(&format!("hint: {hint}\n"))?;
            }
            Ok(())
        }
    }
}

/// Prints an error that came before there was a report, and what comes in the report's place where one was asked for.
pub(crate) fn print_failure(error: &anyhow::Error, asked: &Asked) -> Exit {
    let report = report_of(error);
    let refused = error.downcast_ref::<clap::Error>();
    let text = match (refused, &report.hint) {
        (Some(refused), _) => refused.render().to_string(),
        (None, Some(hint)) => format!("error: {}\nhint: {hint}\n", chain(error.as_ref())),
        (None, None) => format!("error: {}\n", chain(error.as_ref())),
    };
    // Where even stderr is gone, nobody is left to tell.
    let _ = eprint(&text);
    if let Some(path) = &asked.result_file
        && let Err(error) = write_json(&report, path)
    {
        let path = path.display();
        let _ = eprint(&format!(
            "error: cannot write the result to `{path}`: {error}\n"
        ));
    }
    if asked.json
        && let Ok(json) = serde_json::to_string(&report)
    {
        let _ = print(&(json + "\n"));
    }
    let stopped_by = error.downcast_ref::<StoppedBy>();
    stopped_by.map_or_else(|| Exit::of(&report), |signal| signal.0)
}

fn report_of(error: &anyhow::Error) -> RunReport {
    let now = Utc::now();
    let run_id = Uuid::now_v7().to_string();
    match (
        error.downcast_ref::<PipelineError>(),
        error.downcast_ref::<clap::Error>(),
    ) {
        (Some(error), _) => RunReport::of_error(&run_id, now, now, error),
        (None, Some(refused)) => {
            let (reason, hint) = reason_and_tip(refused);
            let refused = PipelineError::Usage { reason, hint };
            RunReport::of_error(&run_id, now, now, &refused)
        }
        (None, None) => {
            let reason = chain(error.as_ref());
            RunReport::of_error(&run_id, now, now, &PipelineError::Unexpected { reason })
        }
    }
}

/// What clap says of refused arguments, on one line, and its tip.
fn reason_and_tip(refused: &clap::Error) -> (String, Option<String>) {
    if refused.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return ("expected a command, got none".to_owned(), None);
    }
    let text = refused.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let reason: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    let tip = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("tip: "));
    (reason.join(" "), tip.map(str::to_owned))
}

/// Prints on stdout. A reader that has gone away is no failure of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// Prints all that `bytes` gives.
pub(crate) fn copy_to_stdout(mut bytes: impl io::Read) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match io::copy(&mut bytes, &mut stdout).and_then(|_| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

pub(crate) fn eprint(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text.as_bytes())
}

fn human(report: &RunReport, took: Duration) -> String {
    let count = |state| {
        report
            .partitions
            .iter()
            .filter(|partition| partition.state == state)
            .count()
    };
    let mut text = String::new();
    let states = [
        (PartitionState::Committed, "committed"),
        (PartitionState::Unchanged, "unchanged"),
        (PartitionState::Failed, "failed"),
        (PartitionState::Shrunk, "shrunk"),
        (PartitionState::Busy, "busy"),
        (PartitionState::NotDue, "not due yet"),
    ];
    let counts: Vec<String> = states
        .into_iter()
        .filter_map(|(state, name)| Some((count(state), name)).filter(|(count, _)| *count > 0))
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let status = match report.status {
        RunStatus::Ok => "ok",
        RunStatus::NothingToDo => "nothing to do",
        RunStatus::Partial => "some partitions failed",
        RunStatus::Failed => "failed",
    };
    let partitions = if counts.is_empty() {
        String::new()
    } else {
        format!("; partitions: {}", counts.join(", "))
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{status}, {:.1} s{partitions}", took.as_secs_f64());
    let totals = &report.totals;
    if totals.decoded > 0 {
        let aside = [
            (totals.duplicates, "duplicates"),
            (totals.margin, "in the margin"),
            (totals.strays, "strays"),
            (totals.dead_letters, "dead letters"),
            (totals.forgotten, "forgotten"),
        ];
        let aside: String = aside
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!(", {} {name}", grouped(count)))
            .collect();
        let _ = writeln!(
            text,
            "records  {} decoded, {} written{aside}",
            grouped(totals.decoded),
            grouped(totals.written)
        );
        let _ = writeln!(text, "rows     {}", rows(&totals.rows));
        let _ = writeln!(
            text,
            "bytes    {} read, {} written",
            bytes(totals.bytes_fetched),
            bytes(totals.bytes_written)
        );
    }
    text + &failures(&report.partitions)
}

/// What went wrong with partitions; what went wrong alike with several in a row is said once.
fn failures(partitions: &[PartitionReport]) -> String {
    let name = |partition: &PartitionReport| match partition.hour {
        Some(hour) => format!("{} hour {hour}", partition.dt),
        None => partition.dt.clone(),
    };
    let mut text = String::new();
    for alike in
        partitions.chunk_by(|one, next| (&one.app_id, &one.error) == (&next.app_id, &next.error))
    {
        let (Some(first), Some(last)) = (alike.first(), alike.last()) else {
            continue;
        };
        let Some(error) = &first.error else {
            continue;
        };
        let names = match alike.len() {
            1 => name(first),
            many => format!("{} to {} ({many} partitions)", name(first), name(last)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {names}: {error}", first.app_id);
    }
    text
}

/// The program as it was called, for lines to be pasted.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next();
    called.map_or_else(
        || "answerlake".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Rows by table, on one line.
pub(crate) fn rows(rows: &PerTable<u64>) -> String {
    let shown: Vec<_> = rows
        .iter()
        .map(|(table, rows)| format!("{table} {}", grouped(*rows)))
        .collect();
    shown.join(", ")
}

/// A number with commas between its thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use answerlake_model::{AppId, Grain, PartitionKey};

    use super::*;

    #[test]
    fn what_went_wrong_alike_is_said_once() {
        let report = |day: u32, error: Option<&str>| PartitionReport {
            error: error.map(str::to_owned),
            ..PartitionReport::new(
                &PartitionKey::new(
                    AppId::try_new("st-1").unwrap(),
                    format!("2025-06-{day:02}T00:00:00Z").parse().unwrap(),
                    Grain::Day,
                ),
                PartitionState::Failed,
            )
        };
        let partitions = [
            report(1, None),
            report(2, Some("stopped")),
            report(3, Some("stopped")),
            report(4, Some("lost")),
            report(5, None),
            report(6, Some("lost")),
        ];
        assert_eq!(
            failures(&partitions),
            "st-1 2025-06-02 to 2025-06-03 (2 partitions): stopped\nst-1 2025-06-04: lost\nst-1 2025-06-06: lost\n"
        );
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_010_000_000), "1.0 GB");
        assert_eq!(bytes(999_900), "1.0 MB");
    }
}
