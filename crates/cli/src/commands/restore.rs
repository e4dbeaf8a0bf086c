//! `answerlake restore`

use std::io::{BufWriter, ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

use answerlake_pipeline::{PipelineConfig, PipelineError, RestoreFormat, RestoreReport};
use clap::{Args, ValueEnum};

use super::answer::{Answer, answer};
use crate::args::{OutputFormat, RangeArgs, ResultArgs, SettingArgs, refused};
use crate::output::{Exit, bytes, grouped};
use crate::whole_file::WholeFile;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake restore --lake ./lake --date 2025-06-28 > records.ndjson
  answerlake restore pipelines/support.toml --from 2025-06-01 --to 2025-07-01 --format json --out june.json

The records equal those that were exported as JSON values: their white space, the order of their members, and how \
numbers are spelled may differ. Each partition is proved by the digest in its manifest; one that is not as it was \
committed ends the command with exit code 6. Without a range, all that is committed is restored; without an app, all \
apps of the lake. Credentials are not needed.")]
pub(crate) struct RestoreArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Lines of JSON, or one array as the export API serves it
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub(crate) format: RestoreFormatArg,
    /// File that the records are written to, whole or not at all [default: stdout, without a result]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestoreFormatArg {
    Ndjson,
    Json,
}

const BUFFER_BYTES: usize = 1 << 18;

pub(crate) fn execute(args: &RestoreArgs) -> anyhow::Result<Exit> {
    if args.out.is_none() && args.result.output.output == OutputFormat::Json {
        return Err(refused(
            "stdout carries the records: give a file for them with --out, or one for the result with --result-file",
        ));
    }
    let outcome = answer(&args.result, async {
        let report = match &args.out {
            Some(path) => to_file(args, path).await?,
            None => write(args, BufWriter::with_capacity(BUFFER_BYTES, stdout())).await?,
        };
        let masked = report.masking.as_ref().map_or_else(String::new, |masking| {
            format!("masked in this lake, and not given back: {masking}\n")
        });
        let text = args.out.as_ref().map_or_else(String::new, |path| {
            format!(
                "restored {} records of {} partitions, {}, to {}\n{masked}",
                grouped(report.records),
                grouped(report.partitions),
                bytes(report.bytes),
                path.display()
            )
        });
        Ok(Answer {
            text,
            result: report,
            exit: Exit::Done,
        })
    });
    match outcome {
        // Whoever reads them has seen enough.
        Err(error) if args.out.is_none() && is_broken_pipe(&error) => Ok(Exit::Done),
        outcome => outcome,
    }
}

async fn to_file(args: &RestoreArgs, path: &Path) -> Result<RestoreReport, PipelineError> {
    // Half of the records would pass for all of them.
    let file = WholeFile::create(path).map_err(PipelineError::Output)?;
    let writer = file.writer().map_err(PipelineError::Output)?;
    let report = write(args, BufWriter::with_capacity(BUFFER_BYTES, writer)).await?;
    file.finish().map_err(PipelineError::Output)?;
    Ok(report)
}

async fn write<W: Write + Send + 'static>(
    args: &RestoreArgs,
    out: W,
) -> Result<RestoreReport, PipelineError> {
    let config = PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0)?;
    let format = match args.format {
        RestoreFormatArg::Ndjson => RestoreFormat::Ndjson,
        RestoreFormatArg::Json => RestoreFormat::Json,
    };
    answerlake_pipeline::restore(&config, &(&args.range).into(), format, out).await
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(PipelineError::Output(source)) if source.kind() == ErrorKind::BrokenPipe
    )
}
