//! `answerlake`: Kore.ai Search AI's Answer Insights, exported to a lake of partitioned Parquet.
//!
//! The program reads arguments and the environment, runs one command, prints its result and chooses the exit code.
//! What it does is in the libraries beside it; `answerlake-pipeline` draws how they work together.

// What can be asked for.
mod args;
// Each command.
mod commands;
// Logs, on stderr.
mod logging;
// Results, on stdout.
mod output;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(&cli.logging);
    let outcome = match cli.command {
        Command::Run(args) => commands::run::execute(&args),
        Command::Ingest(args) => commands::ingest::execute(&args),
        Command::Schema(args) => commands::schema::execute(&args),
        Command::Emulate(args) => commands::emulate::execute(&args),
        Command::Demo(args) => commands::demo::execute(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::print_error(&error);
            Exit::Unexpected.into()
        }
    }
}
