//! `answerlake init`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use answerlake_pipeline::config::{Template, template};
use anyhow::Context;
use clap::Args;

use crate::args::{NeededArgs, refused};
use crate::output::{Exit, print, program};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake init
  answerlake init pipelines/support.toml --host https://platform.kore.ai --app-id st-… --lake ./lake --window-start 2025-06-01
  answerlake init - | less

Every setting stands in the file with what it means; those that are commented out show what holds without them. What \
has to be set and is not given as a flag or in the environment is left to be filled in, and a run refuses the file \
until it is.")]
pub(crate) struct InitArgs {
    /// The file to write; - writes to stdout
    #[arg(default_value = "pipeline.toml")]
    pub(crate) path: PathBuf,
    /// Replace the file when there is one
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) settings: NeededArgs,
}

pub(crate) fn execute(args: &InitArgs) -> anyhow::Result<Exit> {
    let template = template(&args.settings.0)?;
    if args.path == Path::new("-") {
        print(&template.text)?;
        return Ok(Exit::Done);
    }
    write(args, &template.text)?;
    print(&what_next(&args.path, &template))?;
    Ok(Exit::Done)
}

fn write(args: &InitArgs, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    if args.force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let path = args.path.display();
    let mut file = match options.open(&args.path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(refused(format!(
                "`{path}` exists already: give another PATH, or --force to replace it"
            )));
        }
        opened => opened.with_context(|| format!("cannot write `{path}`"))?,
    };
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write `{path}`"))
}

fn what_next(path: &Path, template: &Template) -> String {
    let (path, program) = (path.display(), program());
    let mut text = format!("Wrote `{path}`. Next:\n\n");
    if !template.to_fill_in.is_empty() {
        let settings: Vec<String> = template
            .to_fill_in
            .iter()
            .map(|setting| format!("{}.{}", setting.section, setting.key))
            .collect();
        text += &format!("  fill in {}, then\n\n", settings.join(", "));
    }
    text += &format!(
        "  export ANSWERLAKE_CLIENT_ID=cs-… ANSWERLAKE_CLIENT_SECRET=…    # or ANSWERLAKE_TOKEN=<JWT>\n  \
         {program} plan {path}    # what a run would ask for, and why\n  \
         {program} run {path}\n"
    );
    text
}
