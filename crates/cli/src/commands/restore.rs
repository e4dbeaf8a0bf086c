//! `answerlake restore`

use std::io::{BufWriter, ErrorKind, stdout};
use std::path::{Path, PathBuf};

use answerlake_pipeline::{
    PipelineConfig, PipelineError, RestoreFormat, RestoreReport, RestoreRequest, local_path,
};
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, answer_or_stop};
use super::default_scratch;
use crate::args::{OutputFormat, RangeArgs, ResultArgs, SettingArgs, refused};
use crate::output::{Exit, bytes, grouped};
use crate::whole_file::WholeFile;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake restore --lake ./lake --date 2025-06-28 > records.ndjson
  answerlake restore pipelines/support.toml --from 2025-06-01 --to 2025-07-01 --format json --out june.json
  answerlake restore --lake s3://bucket/lake --date 2025-06-28 --out s3://other/support/2025-06-28.ndjson

The records equal those that were exported as JSON values: their white space, the order of their members, and how \
numbers are spelled may differ. Each partition is proved by the digest in its manifest; one that is not as it was \
committed ends the command with exit code 6. Without a range, all that is committed is restored; without an app, all \
apps of the lake. Credentials of the source are not needed; an object in a store is written with those of the lake.

It may run while runs are at work. Each partition is restored from one revision, the newest when its turn comes: all its \
files are opened before its first record is written (from a store that is no disk, they are copied to scratch), so a run \
that replaces it meanwhile takes nothing away. What goes to --out appears when all of it is there; stopped or failed, \
nothing does, and what stood there stays.")]
pub(crate) struct RestoreArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Lines of JSON, or one array as the export API serves it
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub(crate) format: RestoreFormatArg,
    /// File or object (s3://bucket/name) that the records are written to, whole or not at all [default: stdout, without
    /// a result]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) out: Option<String>,
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
    let outcome = answer_or_stop(&args.result, |stop| async move {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?;
        let request = request(args, stop);
        let report = match &args.out {
            Some(out) => match local_path(out)? {
                Some(path) => to_file(&config, &request, &path).await?,
                None => answerlake_pipeline::restore_to_object(&config, &request, out).await?,
            },
            None => {
                let out = BufWriter::with_capacity(BUFFER_BYTES, stdout());
                answerlake_pipeline::restore(&config, &request, out).await?
            }
        };
        let masked = report.masking.as_ref().map_or_else(String::new, |masking| {
            format!("masked in this lake, and not given back: {masking}\n")
        });
        let text = args.out.as_ref().map_or_else(String::new, |out| {
            format!(
                "restored {} records of {} partitions, {}, to {}\n{masked}",
                grouped(report.records),
                grouped(report.partitions),
                bytes(report.bytes),
                out
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

fn request(args: &RestoreArgs, stop: CancellationToken) -> RestoreRequest {
    RestoreRequest {
        range: (&args.range).into(),
        format: match args.format {
            RestoreFormatArg::Ndjson => RestoreFormat::Ndjson,
            RestoreFormatArg::Json => RestoreFormat::Json,
        },
        default_scratch: default_scratch(),
        stop,
    }
}

async fn to_file(
    config: &PipelineConfig,
    request: &RestoreRequest,
    path: &Path,
) -> Result<RestoreReport, PipelineError> {
    // Half of the records would pass for all of them.
    let file = WholeFile::create(path).map_err(PipelineError::Output)?;
    let writer = file.writer().map_err(PipelineError::Output)?;
    let out = BufWriter::with_capacity(BUFFER_BYTES, writer);
    let report = answerlake_pipeline::restore(config, request, out).await?;
    file.finish().map_err(PipelineError::Output)?;
    Ok(report)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(PipelineError::Output(source)) if source.kind() == ErrorKind::BrokenPipe
    )
}
