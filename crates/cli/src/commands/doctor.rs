//! `answerlake doctor`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::doctor::{CheckState, DoctorReport, DoctorRequest, doctor};
use answerlake_pipeline::error::FailureKind;
use chrono::Utc;
use clap::Args;

use super::answer::{Answer, answer};
use crate::args::{ResultArgs, SettingArgs};
use crate::output::Exit;
use crate::paragraph::{COLUMNS, wrapped};

/// Where messages begin.
const INDENT: usize = 18;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake doctor pipelines/support.toml
  answerlake doctor --host https://platform.kore.ai --app-id st-… --lake s3://bucket/lake --output json

What is checked, a line each: the token, or that one can be signed; that the source answers; how far its clock is from \
this machine's; the scope Answer Insights, by exporting one minute; the scope Answer Generation, by that export's job; \
that the lake can be written, fits these settings, and creates only what is absent; scratch; and the room on the disks. \
Each says ok, warning, failed or skipped, and what to do. Nothing is left in the lake.

Exit codes: 0 a run will work (warnings are no failure), 2 settings, 4 refused by the source, 5 the source fails, \
6 the lake fails, 1 this machine. In JSON: status (ok or problems) and checks, each with check, state, message and hint.")]
pub(crate) struct DoctorArgs {
    /// Pipeline file, TOML; not needed when --host, --app-id and --lake are given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &DoctorArgs) -> anyhow::Result<Exit> {
    answer(&args.result, async {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?
            .with_masking(&super::variable)?;
        let request = DoctorRequest {
            now: Utc::now(),
            default_scratch: super::default_scratch(),
        };
        let report = doctor(&config, &super::variable, &request).await;
        Ok(Answer {
            text: text(&report),
            exit: match report.failure {
                None => Exit::Done,
                Some(FailureKind::Configuration) => Exit::Configuration,
                Some(FailureKind::Refused) => Exit::Refused,
                Some(FailureKind::Source) => Exit::SourceFailed,
                Some(FailureKind::Lake) => Exit::LakeFailed,
                Some(_) => Exit::Unexpected,
            },
            result: report,
        })
    })
}

fn text(report: &DoctorReport) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let state = match check.state {
            CheckState::Ok => "ok",
            CheckState::Warning => "warning",
            CheckState::Failed => "FAILED",
            CheckState::Skipped => "skipped",
        };
        let begins = format!("{state:<8}{:<10}", check.check);
        let hint = check.hint.as_ref().map(|hint| format!("-> {hint}"));
        let messages = [Some(&check.message), hint.as_ref()];
        let lines = messages.into_iter().flatten();
        for (place, line) in lines
            .flat_map(|message| wrapped(message, COLUMNS - INDENT))
            .enumerate()
        {
            // Writing to a string cannot fail.
            let _ = match place {
                0 => writeln!(text, "{begins}{line}"),
                _ => writeln!(text, "{:INDENT$}{line}", ""),
            };
        }
    }
    text
}
