//! `answerlake completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::output::{Exit, print};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake completions bash > ~/.local/share/bash-completion/completions/answerlake
  answerlake completions zsh  > ~/.zfunc/_answerlake      (with `fpath+=~/.zfunc` before compinit in ~/.zshrc)
  answerlake completions fish > ~/.config/fish/completions/answerlake.fish
  answerlake completions powershell >> $PROFILE
  answerlake completions elvish >> ~/.config/elvish/rc.elv

A shell that is open already takes them up when it is started anew.")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

pub(crate) fn execute(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "answerlake", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Done)
}
