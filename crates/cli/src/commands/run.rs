//! `answerlake run`

use answerlake_pipeline::{PipelineConfig, RunRequest};

use crate::args::RunArgs;
use crate::output::Exit;

pub(crate) fn execute(args: &RunArgs) -> anyhow::Result<Exit> {
    super::execute(&args.result, args.skip_exit_code, |context| async move {
        let config =
            PipelineConfig::load(args.pipeline.as_deref(), &args.settings.0, &super::variable)?;
        let request = RunRequest {
            range: (&args.range).into(),
            force: args.force,
        };
        answerlake_pipeline::run(&config, &request, &context).await
    })
}
