//! `answerlake ingest`

use std::path::PathBuf;
use std::sync::Arc;

use answerlake_pipeline::IngestRequest;
use clap::Args;

use crate::args::{ResultArgs, SettingArgs};
use crate::output::Exit;
use crate::screen::Screen;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake ingest export.json --lake ./lake
  answerlake ingest 'downloads/part-*.json.gz' --lake ./lake --app-id st-…
  answerlake ingest ./lake/_answerlake/dead_letters/app_id=st-…/dt=2025-06-28 --lake ./lake      # after a fix
  answerlake ingest --replace ./lake/_answerlake/raw --lake ./rebuilt                          # no API needed

A fragment is what the export API serves: a JSON array of records; gzip, zstd, lines of JSON and an object \
around the array are taken too. Without --app-id, each record belongs to the app it names in botId. A day that is \
committed gets a new revision with what it holds and what is new; the same again changes nothing. Nothing \
proves that such fragments are whole, so a later run that covers their days reads those again.

Of a folder or an address (s3://…) with what `[landing]` kept, each job is taken in, the oldest first, as whole as its \
manifest proves it. With --replace it is as if the runs were made again that fetched them: from all that was kept, \
a lake comes out with the same content in every partition.")]
pub(crate) struct IngestArgs {
    /// Files, folders of files, or patterns; folders or addresses of what `[landing]` kept
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Let what `[landing]` kept replace what is there, as the runs did that fetched it, not join it
    #[arg(long)]
    pub(crate) replace: bool,
    /// Pipeline file, TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

pub(crate) fn execute(args: &IngestArgs, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    super::execute(&args.result, None, screen, |context| async move {
        let config = super::pipeline(args.pipeline.as_deref(), &args.settings.0)?
            .with_masking(&super::variable)?;
        let request = IngestRequest {
            paths: args.paths.clone(),
            replace: args.replace,
        };
        answerlake_pipeline::ingest(&config, &request, &context).await
    })
}
