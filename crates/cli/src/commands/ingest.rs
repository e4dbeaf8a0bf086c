//! `answerlake ingest`

use std::sync::Arc;

use answerlake_pipeline::{IngestRequest, PipelineConfig};

use crate::args::IngestArgs;
use crate::output::Exit;
use crate::screen::Screen;

pub(crate) fn execute(args: &IngestArgs, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    super::execute(&args.result, None, screen, |context| async move {
        let config = PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0)?
            .with_masking(&super::variable)?;
        let request = IngestRequest {
            paths: args.paths.clone(),
        };
        answerlake_pipeline::ingest(&config, &request, &context).await
    })
}
