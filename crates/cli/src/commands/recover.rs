//! `answerlake recover`

use std::fmt::Write;

use answerlake_pipeline::{PipelineConfig, RecoveryReport, RunStatus};

use super::answer::{Answer, Invocation, answer};
use crate::args::RecoverArgs;
use crate::output::{Exit, bytes};

pub(crate) fn execute(args: &RecoverArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0)?;
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
    for broken in &report.broken {
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
