//! `answerlake verify`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::against_source::Differences;
use answerlake_pipeline::error::FailureKind;
use answerlake_pipeline::plan::Range;
use answerlake_pipeline::status::Health;
use answerlake_pipeline::verify::FindingReport;
use answerlake_pipeline::{RunContext, SourceReport, SourceRequest, VerifyReport, VerifyRequest};
use clap::Args;

use super::answer::{Answer, Invocation, answer, answer_or_stop};
use crate::args::{RangeArgs, ResultArgs, SettingArgs, refused};
use crate::output::{Exit, bytes, grouped};
use crate::paragraph::{COLUMNS, wrapped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake verify --lake ./lake
  answerlake verify pipelines/support.toml --date 2025-06-28 --deep
  answerlake verify --lake s3://bucket/lake --output json
  answerlake verify pipelines/support.toml --against-source --sample 5%

Of the newest revision of each partition, every file is read: it is there, with the size and the SHA-256 that its \
manifest says; its footer has the rows, the columns and the schema version. Revisions follow one another without gaps, \
all manifests can be read, and the books balance. Files in the folders of the tables that no newest revision lists \
are found, too. With --deep every row is decoded: times lie in the partition, JSON is JSON, no record is there twice, \
each answer has its query, each chunk and call its answer, positions count from 1, and nobody is there who is forgotten.

Without a range, all that is committed is verified. It reads only, needs no credentials, and may run while runs are \
at work. Each finding says what mends it; with any, \
the exit code is 3. In JSON: status (ok or problems), checked, and findings, each with code, partition, path, message \
and mend (hint, command, arguments).

With --against-source, settled partitions are exported again instead, and compared with the lake record by record; it \
needs what a run needs, and writes nothing to the lake. What differs is told by ids and names of members, never by \
what they hold; with any difference, or anything that could not be compared, the exit code is 3. In JSON: status, \
settled, unsettled, compared, requests, and partitions, each with same, lake_records, source_records, only_in_lake, \
only_in_source, changed, examples, error and mend.")]
pub(crate) struct VerifyArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are verified
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Decode every row, and check how rows belong together
    #[arg(long, conflicts_with = "against_source")]
    pub(crate) deep: bool,
    /// Export settled partitions again, and compare them with the lake
    #[arg(long)]
    pub(crate) against_source: bool,
    /// How many of them, drawn anew each day: all of the range without it
    #[arg(long, value_name = "PERCENT", requires = "against_source", value_parser = percent)]
    pub(crate) sample: Option<f64>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

/// Reads `5%`, or `5`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse();
    number
        .ok()
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "expected more than 0% and at most 100%, such as `5%`".to_owned())
}

pub(crate) fn execute(args: &VerifyArgs) -> anyhow::Result<Exit> {
    if args.against_source {
        return against_source(args);
    }
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

fn against_source(args: &VerifyArgs) -> anyhow::Result<Exit> {
    let range: Range = (&args.range).into();
    if args.sample.is_none() && range == Range::default() {
        return Err(refused(
            "expected --sample, --date or --from and --to with --against-source: all that is settled would be exported \
             again; to do so all the same, give `--sample 100%`",
        ));
    }
    let context = super::run_context()?;
    answer_or_stop(&args.result, |stop| async move {
        let context = RunContext { stop, ..context };
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?
            .with_masking(&super::variable)?;
        let extract = config.extract(&super::variable)?;
        let request = SourceRequest {
            range,
            sample_percent: args.sample,
        };
        let report =
            answerlake_pipeline::verify_against_source(&config, &extract, &request, &context)
                .await?;
        Ok(Answer {
            text: compared(&report, args),
            exit: match (report.status, report.failure()) {
                (Health::Ok, _) => Exit::Done,
                (Health::Problems, Some(FailureKind::Source)) => Exit::SourceFailed,
                (Health::Problems, Some(FailureKind::Lake)) => Exit::LakeFailed,
                (Health::Problems, _) => Exit::SomeFailed,
            },
            result: report,
        })
    })
}

fn compared(report: &SourceReport, args: &VerifyArgs) -> String {
    let invocation = Invocation {
        pipeline: args.pipeline.as_deref(),
        settings: &args.settings,
    };
    let mut text = format!(
        "{} exported again of {} that are settled",
        counted(report.compared as u64, "partition"),
        grouped(report.settled as u64),
    );
    let _ = match report.unsettled {
        0 => writeln!(text),
        unsettled => writeln!(
            text,
            "; {} not, and read again anyway",
            grouped(unsettled as u64)
        ),
    };
    for partition in &report.partitions {
        let _ = writeln!(text, "  {}", partition.partition);
        if let Some(error) = &partition.error {
            for line in wrapped(&format!("not compared: {error}"), COLUMNS - 4) {
                let _ = writeln!(text, "    {line}");
            }
        }
        if let Some(differences) = &partition.differences {
            differing(&mut text, differences);
        }
        if !partition.mend.is_empty() {
            let command = invocation.command("run", &partition.mend);
            let _ = writeln!(text, "    to read it again: {command}");
        }
    }
    text.push_str(match report.status {
        Health::Ok => "no differences\n",
        Health::Problems if report.compared == 0 => "nothing is settled of what was asked for\n",
        Health::Problems => "there are differences, or partitions that could not be compared\n",
    });
    text
}

/// How the two sides of a partition differ, a line for each way.
fn differing(text: &mut String, differences: &Differences) {
    let ways = [
        (
            differences.only_in_lake,
            "only in the lake",
            &differences.examples_only_in_lake,
        ),
        (
            differences.only_in_source,
            "only at the source",
            &differences.examples_only_in_source,
        ),
        (
            differences.changed,
            "changed",
            &differences.examples_changed,
        ),
    ];
    let records = counted(differences.lake_records, "record");
    if ways.iter().all(|(count, ..)| *count == 0) {
        let _ = writeln!(text, "    {records}, the same");
        return;
    }
    let _ = writeln!(
        text,
        "    {records} in the lake, {} at the source",
        grouped(differences.source_records)
    );
    for (count, way, examples) in ways {
        if count == 0 {
            continue;
        }
        let _ = writeln!(text, "    {} {way}, such as:", grouped(count));
        for example in examples {
            let event = example.event.as_deref().unwrap_or("no event");
            let _ = write!(text, "      {} ({event})", example.id);
            let _ = match example.members.as_slice() {
                [] => writeln!(text),
                members => writeln!(text, ": {}", members.join(", ")),
            };
        }
    }
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
