//! `answerlake run`

use std::sync::Arc;

use answerlake_pipeline::{PipelineConfig, RunRequest};

use crate::args::RunArgs;
use crate::output::Exit;
use crate::screen::Screen;

pub(crate) fn execute(args: &RunArgs, screen: Option<&Arc<Screen>>) -> anyhow::Result<Exit> {
    super::execute(
        &args.result,
        args.skip_exit_code,
        screen,
        |context| async move {
            let config = PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0)?
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
