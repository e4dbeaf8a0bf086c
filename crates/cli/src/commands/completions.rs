//! `answerlake completions`

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};
use crate::output::{Exit, print};

pub(crate) fn execute(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "answerlake", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
