//! Results, on stdout, and the exit code they come with.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use answerlake_model::PerTable;
use answerlake_pipeline::error::FailureKind;
use answerlake_pipeline::{PartitionState, RunReport, RunStatus};

use crate::args::OutputFormat;

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

/// Writes a report to a file: whole, or not at all.
pub(crate) fn write_report(report: &RunReport, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("partial");
    std::fs::write(&beside, serde_json::to_string(report)? + "\n")?;
    std::fs::rename(&beside, path)
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

/// Prints an error with its causes.
pub(crate) fn print_error(error: &anyhow::Error) {
    // Where even stderr is gone, nobody is left to tell.
    let _ = eprint(&format!("error: {error:#}\n"));
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
    for partition in &report.partitions {
        if let Some(error) = &partition.error {
            let hour = partition
                .hour
                .map(|hour| format!(" hour {hour}"))
                .unwrap_or_default();
            let _ = writeln!(text, "{} {}{hour}: {error}", partition.app_id, partition.dt);
        }
    }
    text
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
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_010_000_000), "1.0 GB");
        assert_eq!(bytes(999_900), "1.0 MB");
    }
}
