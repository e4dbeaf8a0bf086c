//! `answerlake schema --drift`

use std::fmt::Write;

use answerlake_model::Table;
use answerlake_pipeline::drift_report::DriftedPath;
use answerlake_pipeline::{DriftReport, DriftRequest};

use super::answer::{Answer, answer};
use super::schema::SchemaArgs;
use crate::output::{Exit, grouped};
use crate::paragraph::{COLUMNS, wrapped};

pub(crate) fn execute(args: &SchemaArgs, table: Option<Table>) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.lake.0)?;
        let request = DriftRequest {
            range: args.range(),
            table,
        };
        let report = answerlake_pipeline::drift(&config, &request).await?;
        Ok(Answer {
            text: text(&report),
            result: report,
            exit: Exit::Done,
        })
    })
}

fn text(report: &DriftReport) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        for line in wrapped(line, COLUMNS) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
    };
    if !report.exists {
        say(&format!("There is no lake at `{}` yet.", report.lake));
        return text;
    }
    let span = match (&report.from, &report.to) {
        (Some(from), Some(to)) => format!(", {} to {}", minutes(from), minutes(to)),
        _ => String::new(),
    };
    let looked = counted(report.partitions as u64, "partition");
    if report.drifted_partitions == 0 {
        say(&format!("No drift in {looked}{span}."));
        return text;
    }
    say(&format!(
        "{} of {looked} drifted{span}: {}.",
        grouped(report.drifted_partitions as u64),
        counted(report.drifted_records, "record"),
    ));
    if report.more_records > 0 {
        let more = counted(report.more_records, "record");
        say(&format!(
            "{more} of these have paths that are not listed: a partition's ledger names the first {}.",
            answerlake_model::DriftLedger::MAX_PATHS
        ));
    }
    let mut app_id = "";
    for path in &report.paths {
        if path.app_id != app_id {
            app_id = &path.app_id;
            let _ = writeln!(text, "\n{app_id}");
        }
        text.push_str(&lines(path));
    }
    text
}

fn lines(path: &DriftedPath) -> String {
    let expected = match &path.expected {
        None => "not in the schema".to_owned(),
        Some(expected) => format!("expected: {expected}"),
    };
    let example = path
        .example
        .as_ref()
        .map_or_else(String::new, |id| format!("; such as {id}"));
    let about = [
        format!("{expected}; came: {}; kept in {}", path.types, path.column),
        format!(
            "{} in {}, {} to {}{example}",
            counted(path.records, "record"),
            counted(path.partitions as u64, "partition"),
            minutes(&path.first_seen),
            minutes(&path.last_seen),
        ),
    ];
    let mut text = format!("  {}\n", path.path);
    for line in about.iter().flat_map(|line| wrapped(line, COLUMNS - 6)) {
        let _ = writeln!(text, "      {line}");
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// `2025-06-01 12:30` of an instant in ISO 8601.
fn minutes(instant: &str) -> String {
    let minutes = instant.get(..16).unwrap_or(instant);
    minutes.replace('T', " ")
}
