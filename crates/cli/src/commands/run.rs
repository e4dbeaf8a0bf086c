//! `answerlake run`

use std::path::PathBuf;
use std::sync::Arc;

use answerlake_pipeline::RunRequest;
use clap::Args;

use crate::args::{RangeArgs, ResultArgs, S3_VARIABLES, SettingArgs};
use crate::output::Exit;
use crate::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  answerlake run pipelines/support.toml
  answerlake run pipelines/support.toml --date 2025-06-28
  ANSWERLAKE_TOKEN=… answerlake run --host https://platform.kore.ai --app-id st-… --lake ./lake \\
      --from 2025-06-01 --to 2025-07-01

Which partitions are due: those of the range, and of the lookback before it, that are not committed, or were \
read before they had settled. Without a range, all since window.start until now, less the lag. Running again is \
always safe.

A job that a run which was stopped or killed left at the source is taken up by the next, and of two runs at once one \
exports and the other waits for its job. What the source does not manage at once is asked for as less, down to the \
hour. Records of other days are kept as strays and join the partition of their own day at the end of the run.

Every setting stands in the pipeline file, in the environment, or as a flag, each winning over the one before; \
--help lists them all.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{S3_VARIABLES}"))]
pub(crate) struct RunArgs {
    /// Pipeline file, TOML; not needed when --host, --app-id and --lake are given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Read partitions of the range that are settled, too, and the files that are there: what is missing, damaged or
    /// not what the records make is written again
    #[arg(long)]
    pub(crate) force: bool,
    /// Read partitions that have not ended, or not long enough ago, too: they are committed as provisional
    #[arg(long)]
    pub(crate) include_open: bool,
    /// Exit code when there is nothing to do, such as 99 for Airflow to skip the task [default: 0]
    #[arg(long, value_name = "CODE")]
    pub(crate) skip_exit_code: Option<u8>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &RunArgs, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    super::execute(
        &args.result,
        args.skip_exit_code,
        screen,
        |context| async move {
            let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?
                .with_masking(&super::variable)?;
            let extract = config.extract(&super::variable)?;
            let request = RunRequest {
                range: (&args.range).into(),
                force: args.force,
                include_open: args.include_open,
            };
            answerlake_pipeline::run(&config, &extract, &request, &context).await
        },
    )
}
