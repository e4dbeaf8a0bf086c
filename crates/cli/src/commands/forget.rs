//! `answerlake forget`

use std::fmt::Write;
use std::path::PathBuf;

use answerlake_pipeline::{ForgetReport, ForgetRequest, RunStatus};
use clap::Args;

use super::answer::{Answer, answer_or_stop};
use crate::args::{ResultArgs, SettingArgs};
use crate::output::{Exit, grouped, rows};
use crate::paragraph::{COLUMNS, wrapped};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake forget --lake ./lake --user-id u-4711                   # what would be removed
  answerlake forget --lake ./lake --user-id u-4711 --apply
  answerlake forget --lake s3://bucket/lake --query-id fsh-1 --query-id fsh-2 --apply --output json
  answerlake forget --lake ./lake --apply                            # whoever was forgotten before, once more

A person's records are those whose userId or accountId is the id, and all that name the query of one of these, feedback \
above all; a query's are those whose searchRequestId or _id is the id. They are removed from every table and partition of \
all apps, from strays, from dead letters, and from fragments that are kept as they were fetched. Each partition gets a revision without them, under which the old files are \
deleted; everybody else's records stay as they were. An id that stands in a text, such as a question, is not looked for.

Of each id a keyed hash is kept in the lake, under _answerlake/forgotten, so that run and ingest do not bring its records \
back: neither those that are exported again nor new ones. That is no shrinking, and does not fail a run. To take it back, \
delete that tombstone. A receipt beside it says what was removed, when and where, and no id.

Without --apply nothing is changed. Stopped or killed, it may be given again, with the ids or without, and does the rest. \
Runs may be at work meanwhile. In a lake whose userId is hashed (privacy), give the id as the source has it, with the \
lake's privacy settings and key. Copies outside of the lake, such as backups and what warehouses loaded, are not known \
to it: `answerlake changes` tells them which partitions to load again.")]
pub(crate) struct ForgetArgs {
    /// Pipeline file, TOML; not needed when --lake is given. All apps of the lake are looked at, whatever it names
    pub(crate) pipeline: Option<PathBuf>,
    /// Person whose records go; may be given several times
    #[arg(long = "user-id", value_name = "ID", required_unless_present_any = ["query_ids", "apply"])]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) user_ids: Vec<String>,
    /// Query whose records go, its feedback too; may be given several times
    #[arg(long = "query-id", value_name = "ID")]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) query_ids: Vec<String>,
    /// Remove them; without it, it is only said what would be removed
    #[arg(long)]
    pub(crate) apply: bool,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &ForgetArgs) -> anyhow::Result<Exit> {
    let mut context = super::run_context()?;
    answer_or_stop(&args.result, |stop| async move {
        context.stop = stop;
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?
            .with_masking(&super::variable)?;
        let request = ForgetRequest {
            user_ids: args.user_ids.clone(),
            query_ids: args.query_ids.clone(),
            apply: args.apply,
        };
        let report = answerlake_pipeline::forget(&config, &request, &context).await?;
        Ok(Answer {
            text: text(&report),
            exit: match report.status {
                RunStatus::Partial => Exit::SomeFailed,
                _ => Exit::Done,
            },
            result: report,
        })
    })
}

fn text(report: &ForgetReport) -> String {
    let mut text = String::new();
    for partition in &report.partitions {
        let revision = match partition.revision {
            Some(revision) => format!(", revision {} to {revision}", partition.from_revision),
            None => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{}: {}{revision}",
            partition.partition,
            records(partition.records)
        );
        let _ = writeln!(text, "    {}", rows(&partition.rows));
    }
    for (name, lines) in [
        ("strays", report.strays),
        ("dead letters", report.dead_letters),
        ("fragments as fetched", report.raw),
    ] {
        if lines.records > 0 {
            let _ = writeln!(
                text,
                "{name}: {} in {} files",
                records(lines.records),
                grouped(lines.files)
            );
        }
    }
    for error in &report.errors {
        let said = format!("{}: {}", error.place, error.error);
        for line in wrapped(&said, COLUMNS) {
            let _ = writeln!(text, "{line}");
        }
    }
    text.push_str(&summary(report));
    text
}

fn summary(report: &ForgetReport) -> String {
    let totals = records(report.totals.records);
    let mut text = match (report.applied, report.status) {
        (_, RunStatus::Partial) => {
            format!(
                "{totals}; some places could not be looked at or written: give the same again\n"
            )
        }
        (false, _) if report.totals.records + report.raw.records == 0 => {
            "nothing of it is in the lake\n".to_owned()
        }
        (false, _) => {
            format!("{totals} would be removed; nothing was changed, --apply removes them\n")
        }
        (true, RunStatus::NothingToDo) => "nothing to do\n".to_owned(),
        (true, _) => format!("{totals} removed\n"),
    };
    if let Some(receipt) = &report.receipt {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "receipt: {receipt}");
    }
    text
}

fn records(number: u64) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} record{ending}", grouped(number))
}
