//! `answerlake recover`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::{BrokenRevision, RecoveryReport, RunStatus};
use clap::Args;

use super::answer::{Answer, Invocation, answer};
use crate::args::{ResultArgs, SettingArgs};
use crate::output::{Exit, bytes};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake recover --lake ./lake
  answerlake recover pipelines/support.toml

Every run does the same for its app when it starts. Commits that a killed run left unfinished are finished, and files \
that it staged and never committed are removed once they are 48 hours old. A revision of which files are nowhere is \
broken: it is said (exit code 3), and the next run that looks at its partition reads that again. Safe at any time, \
also while runs are at work.")]
pub(crate) struct RecoverArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are recovered
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &RecoverArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let report = answerlake_pipeline::recover(&config).await?;
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

fn text(report: &RecoveryReport, args: &RecoverArgs) -> String {
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
    for done in &report.rolled_forward {
        let _ = writeln!(
            text,
            "finished  {}, revision {}",
            done.partition, done.revision
        );
    }
    text.push_str(&broken_revisions(&report.broken, invocation));
    let staging = &report.staging;
    if staging.files > 0 {
        let _ = writeln!(
            text,
            "cleared   {} staged files of killed runs, {}",
            staging.files,
            bytes(staging.bytes)
        );
    }
    if staging.kept > 0 {
        let _ = writeln!(
            text,
            "kept      {} staged files: younger than 48 hours, or a commit needs them",
            staging.kept
        );
    }
    text
}

/// Each revision that cannot be finished, and what reads its partition again.
pub(super) fn broken_revisions(broken: &[BrokenRevision], invocation: Invocation<'_>) -> String {
    let mut text = String::new();
    for broken in broken {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "broken    {}, revision {}: files of it are nowhere; to read the partition again:\n          {}",
            broken.partition,
            broken.revision,
            invocation.command("run", &broken.arguments)
        );
        for path in &broken.missing {
            let _ = writeln!(text, "          {path}");
        }
    }
    text
}
