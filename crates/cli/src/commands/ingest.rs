//! `answerlake ingest`

use answerlake_pipeline::{IngestRequest, PipelineConfig};

use crate::args::IngestArgs;
use crate::output::Exit;

pub(crate) fn execute(args: &IngestArgs) -> anyhow::Result<Exit> {
    super::execute(&args.result, None, |context| async move {
        let config =
            PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0, &super::variable)?;
        let request = IngestRequest {
            paths: args.paths.clone(),
        };
        answerlake_pipeline::ingest(&config, &request, &context).await
    })
}
