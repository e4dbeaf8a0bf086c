//! `answerlake verify`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::status::Health;
use answerlake_pipeline::verify::FindingReport;
use answerlake_pipeline::{VerifyReport, VerifyRequest};
use clap::Args;

use super::answer::{Answer, Invocation, answer};
use crate::args::{RangeArgs, ResultArgs, SettingArgs};
use crate::output::{Exit, bytes, grouped};
use crate::paragraph::{COLUMNS, wrapped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake verify --lake ./lake
  answerlake verify pipelines/support.toml --date 2025-06-28 --deep
  answerlake verify --lake s3://bucket/lake --output json

Of the newest revision of each partition, every file is read: it is there, with the size and the SHA-256 that its \
manifest says; its footer has the rows, the columns and the schema version. Revisions follow one another without gaps, \
all manifests can be read, and the books balance. Files in the folders of the tables that no newest revision lists \
are found, too. With --deep every row is decoded: times lie in the partition, JSON is JSON, no record is there twice, \
each answer has its query, each chunk and call its answer, and positions count from 1.

Without a range, all that is committed is verified. It reads only, needs no credentials, and may run while runs are \
at work. Each finding says what mends it; with any, \
the exit code is 3. In JSON: status (ok or problems), checked, and findings, each with code, partition, path, message \
and mend (hint, command, arguments).")]
pub(crate) struct VerifyArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are verified
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Decode every row, and check how rows belong together
    #[arg(long)]
    pub(crate) deep: bool,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &VerifyArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let request = VerifyRequest {
            range: (&args.range).into(),
            deep: args.deep,
        };
        let report = answerlake_pipeline::verify(&config, &request).await?;
        Ok(Answer {
            text: text(&report, args),
            exit: match report.status {
                Health::Problems => Exit::SomeFailed,
                Health::Ok => Exit::Done,
            },
            result: report,
        })
    })
}

fn text(report: &VerifyReport, args: &VerifyArgs) -> String {
    let invocation = Invocation {
        pipeline: args.pipeline.as_deref(),
        settings: &args.settings,
    };
    let checked = &report.checked;
    let what = if report.deep {
        "manifests, checksums, footers, books, every row"
    } else {
        "manifests, checksums, footers, books"
    };
    let mut text = format!(
        "{}, {}, {} ({}), {}\nchecked: {what}\n",
        counted(checked.apps, "app"),
        counted(checked.partitions, "partition"),
        counted(checked.files, "file"),
        bytes(checked.bytes),
        counted(checked.records, "record"),
    );
    if report.findings.is_empty() {
        text.push_str("no problems\n");
        return text;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}:",
        counted(report.findings.len() as u64, "problem")
    );
    for alike in report
        .findings
        .chunk_by(|one, next| (&one.partition, &one.mend) == (&next.partition, &next.mend))
    {
        text.push_str(&findings(alike, invocation));
    }
    text
}

/// Findings of one partition that one thing mends.
fn findings(alike: &[FindingReport], invocation: Invocation<'_>) -> String {
    let mut text = String::new();
    let Some(first) = alike.first() else {
        return text;
    };
    let place = first.partition.as_deref().unwrap_or("in no partition");
    let _ = writeln!(text, "  {place}");
    for finding in alike {
        if let Some(path) = &finding.path {
            let _ = writeln!(text, "    {path}");
        }
        for line in wrapped(&finding.message, COLUMNS - 6) {
            let _ = writeln!(text, "      {line}");
        }
    }
    for line in wrapped(&format!("to mend it: {}", first.mend.hint), COLUMNS - 4) {
        let _ = writeln!(text, "    {line}");
    }
    if let Some(command) = first.mend.command {
        let command = invocation.command(command, &first.mend.arguments);
        let _ = writeln!(text, "    {command}");
    }
    text
}

fn counted(number: u64, name: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {name}{ending}", grouped(number))
}
