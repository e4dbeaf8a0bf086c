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
// A file that is there whole, or not at all.
mod whole_file;
// How far a run is.
mod progress;
// What stderr shows, when it is a terminal.
mod screen;
// Partitions by the day.
mod calendar;
// Text for narrow terminals.
mod paragraph;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use args::{Asked, Cli, Command, LogFormat};
use screen::Screen;

fn main() -> ExitCode {
    let asked = Asked::of(std::env::args_os().skip(1), commands::variable);
    let outcome = match Cli::try_parse() {
        Ok(cli) => execute(cli),
        // Help and version, which were asked for.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => Err(error.into()),
    };
    outcome
        .unwrap_or_else(|error| output::print_failure(&error, &asked))
        .into()
}

fn execute(cli: Cli) -> anyhow::Result<output::Exit> {
    let is_drawn = cli.command.has_progress()
        && !cli.logging.no_progress
        && cli.logging.log_format == LogFormat::Text
        && screen::is_watched();
    let screen = is_drawn.then(|| Arc::new(Screen::default()));
    logging::init(&cli.logging, screen.as_ref());
    match cli.command {
        Command::Run(args) => commands::run::execute(&args, screen.as_ref()),
        Command::Plan(args) => commands::plan::execute(&args),
        Command::Status(args) => commands::status::execute(&args),
        Command::Verify(args) => commands::verify::execute(&args),
        Command::Doctor(args) => commands::doctor::execute(&args),
        Command::Recover(args) => commands::recover::execute(&args),
        Command::Vacuum(args) => commands::vacuum::execute(&args),
        Command::Ingest(args) => commands::ingest::execute(&args, screen.as_ref()),
        Command::Restore(args) => commands::restore::execute(&args),
        Command::Forget(args) => commands::forget::execute(&args),
        Command::Schema(args) => commands::schema::execute(&args),
        Command::Files(args) => commands::files::execute(&args),
        Command::Changes(args) => commands::changes::execute(&args),
        Command::Ddl(args) => commands::ddl::execute(&args),
        Command::Emulate(args) => commands::emulate::execute(&args),
        Command::Demo(args) => commands::demo::execute(&args, screen.as_ref()),
        Command::Init(args) => commands::init::execute(&args),
        Command::Completions(args) => commands::completions::execute(&args),
    }
}
