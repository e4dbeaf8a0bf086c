//! `answerlake vacuum`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::{Found, RunStatus, VacuumReport};
use clap::Args;

use super::answer::{Answer, Invocation, answer};
use super::recover::broken_revisions;
use crate::args::{ResultArgs, SettingArgs};
use crate::output::{Exit, bytes, grouped};
use crate::paragraph::{COLUMNS, wrapped};

/// Paths of one kind that people are shown; JSON has them all.
const SHOWN: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake vacuum --lake ./lake
  answerlake vacuum pipelines/support.toml --apply

Without --apply nothing is written: it shows what would go, and what stays, and why. With it, commits that a killed \
run left unfinished are finished first, as recover does. Then these go:
  staged files       48 hours old by the store's clock, named by no unpublished revision
  unlisted files     data that a revision listed and a later, published one dropped
  job records        too old for any run to take up: 48 hours, or jobs.max_age if that is longer
  failure notes      of partitions that were committed since
  half-written files and empty folders, on a disk: unused for 48 hours
Manifests, markers, strays, dead letters and fragments kept as fetched are never touched, nor what no manifest of the \
lake says is its own. Safe at any time, also while runs are at work.

On S3, the parts of uploads that were cut off are shown by no listing, and cost money: let a lifecycle rule of the \
bucket abort incomplete multipart uploads after 3 days. In a bucket with versions, another rule expires those that \
are not current.

In JSON: status, applied, rolled_forward, broken, and removed and kept, each with kind, reason, count, bytes and \
paths. The exit code is 3 where revisions are broken, else 0.")]
pub(crate) struct VacuumArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are looked through
    pub(crate) pipeline: Option<PathBuf>,
    /// Remove what is found
    #[arg(long)]
    pub(crate) apply: bool,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &VacuumArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let report = answerlake_pipeline::vacuum(&config, args.apply).await?;
        let exit = match report.status {
            RunStatus::Partial => Exit::SomeFailed,
            _ => Exit::Done,
        };
        Ok(Answer {
            text: text(&report, args),
            result: report,
            exit,
        })
    })
}

fn text(report: &VacuumReport, args: &VacuumArgs) -> String {
    let invocation = Invocation {
        pipeline: args.pipeline.as_deref(),
        settings: &args.settings,
    };
    let mut text = String::new();
    if !report.exists {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "There is no lake at `{}` yet.", report.lake);
    }
    if report.status == RunStatus::NothingToDo {
        text.push_str("nothing to do\n");
    }
    let (finished, removed) = match report.applied {
        true => ("finished ", "removed"),
        false => ("to finish", "to remove"),
    };
    for done in &report.rolled_forward {
        let _ = writeln!(
            text,
            "{finished} {}, revision {}",
            done.partition, done.revision
        );
    }
    text.push_str(&broken_revisions(&report.broken, invocation));
    for found in &report.removed {
        text.push_str(&paragraph(removed, found));
    }
    for found in &report.kept {
        text.push_str(&paragraph("kept", found));
    }
    if !report.applied && report.status != RunStatus::NothingToDo {
        let command = invocation.command("vacuum", &["--apply".to_owned()]);
        let _ = writeln!(text, "Nothing was changed. To do it:\n  {command}");
    }
    text
}

/// Leftovers of one kind: how many, why, and the first of them.
fn paragraph(what: &str, found: &Found) -> String {
    let ending = if found.count == 1 { "" } else { "s" };
    let mut text = format!(
        "{what:<9} {} {}{ending}",
        grouped(found.count as u64),
        found.kind.name()
    );
    if found.bytes > 0 {
        let _ = write!(text, ", {}", bytes(found.bytes));
    }
    text.push('\n');
    let indented = |line: &str| format!("          {line}\n");
    for line in wrapped(&found.reason, COLUMNS - 10) {
        text.push_str(&indented(&line));
    }
    for path in found.paths.iter().take(SHOWN) {
        text.push_str(&indented(path));
    }
    if found.count > SHOWN {
        let more = grouped((found.count - SHOWN) as u64);
        text.push_str(&indented(&format!(
            "and {more} more: --output json names all"
        )));
    }
    text
}
