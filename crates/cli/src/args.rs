//! What can be asked for on the command line: the commands, and the arguments that several of them share. Those of one
//! command stand with it.

// The pipeline's settings.
mod settings;
// How a result was asked for.
mod asked;

use std::path::{Path, PathBuf};

use answerlake_pipeline::config::HumanTime;
use answerlake_pipeline::plan::Range;
use chrono::NaiveDate;
use clap::builder::FalseyValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub(crate) use asked::Asked;
pub(crate) use settings::{LakeArgs, NeededArgs, SettingArgs};

use crate::commands::changes::ChangesArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::ddl::DdlArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::emulate::EmulateArgs;
use crate::commands::files::FilesArgs;
use crate::commands::forget::ForgetArgs;
use crate::commands::ingest::IngestArgs;
use crate::commands::init::InitArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::recover::RecoverArgs;
use crate::commands::restore::RestoreArgs;
use crate::commands::run::RunArgs;
use crate::commands::schema::SchemaArgs;
use crate::commands::status::StatusArgs;
use crate::commands::vacuum::VacuumArgs;
use crate::commands::verify::VerifyArgs;
use crate::logging::LogFilter;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    unexpected
  2    usage or configuration
  3    some partitions failed, the rest are committed
  4    refused by the source: token, scope, app id
  5    the source failed
  6    the lake failed
  99   nothing to do, only with --skip-exit-code 99
  130, 143   stopped by SIGINT, SIGTERM";

/// How a lake on S3 is reached.
pub(crate) const S3_VARIABLES: &str = "\
A lake on S3 is reached by the usual variables of the environment:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
      the credentials; without them, AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, those of the
      container (ECS, EKS) or of the machine's role (EC2). Profiles are not read; export one by
      eval \"$(aws configure export-credentials --profile NAME --format env)\"
  AWS_REGION
      the bucket's [default: us-east-1]
  AWS_ENDPOINT_URL
      a store that is not Amazon's; AWS_ALLOW_HTTP=true where it is http:// and another machine,
      AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true where the bucket belongs before its host
  AWS_SERVER_SIDE_ENCRYPTION, AWS_SSE_KMS_KEY_ID, AWS_SSE_BUCKET_KEY_ENABLED
      AES256, aws:kms, aws:kms:dsse, or sse-c with AWS_SSE_CUSTOMER_KEY_BASE64
  AWS_CHECKSUM_ALGORITHM
      SHA256, CRC64NVME, or none for stores that know none [default: SHA256]
  AWS_MAX_ATTEMPTS
      how often a request is made, within three minutes [default: 11]
  AWS_CA_BUNDLE
      certificates to trust, where --ca-file names none
--proxy, --ca-file and --connect-timeout hold for it, too.";

/// Exports Kore.ai Search AI's Answer Insights to a lake of partitioned Parquet
#[derive(Debug, Parser)]
#[command(name = "answerlake", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
#[command(after_long_help = format!("{S3_VARIABLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) logging: LoggingArgs,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring all that is due from the source into the lake
    Run(RunArgs),
    /// Show what a run would ask for, and why, without asking
    Plan(PlanArgs),
    /// Show what is in the lake, what is not, and why; by the lake alone
    Status(StatusArgs),
    /// Check that what the lake holds is what was committed, file by file; --deep, row by row
    Verify(VerifyArgs),
    /// Check that a run will work from here: token, source, clock, scopes, lake, room
    Doctor(DoctorArgs),
    /// Finish what killed runs left in the lake
    Recover(RecoverArgs),
    /// Remove what killed runs left in the lake and nobody needs; without --apply, show it
    Vacuum(VacuumArgs),
    /// Bring fragments that are at hand into the lake
    Ingest(IngestArgs),
    /// Write the records back out of the lake, as they were exported
    Restore(RestoreArgs),
    /// Remove a person's records, or a query's, from everywhere in the lake, and keep them from coming back
    Forget(ForgetArgs),
    /// Print the tables, column by column
    Schema(SchemaArgs),
    /// List the files that readers may take, as text, JSON or SQL
    Files(FilesArgs),
    /// Tell a warehouse which partitions to load again, as text, JSON or SQL
    Changes(ChangesArgs),
    /// Print SQL that creates the tables, and views that tell how good answers are
    Ddl(DdlArgs),
    /// Serve the export API on this machine, with made-up data
    Emulate(EmulateArgs),
    /// Run against an emulated source and show what comes out
    Demo(DemoArgs),
    /// Write a pipeline file to start from, with every setting in it
    Init(InitArgs),
    /// Print a script that completes arguments in a shell
    Completions(CompletionsArgs),
}

impl Command {
    /// Whether it runs long enough to be watched.
    pub(crate) fn has_progress(&self) -> bool {
        matches!(self, Self::Run(_) | Self::Ingest(_) | Self::Demo(_))
    }
}

/// The error of arguments that are refused for what they say together, or for what is there.
pub(crate) fn refused(reason: impl std::fmt::Display) -> anyhow::Error {
    Cli::command()
        .error(ErrorKind::ValueValidation, reason)
        .into()
}

/// How much is logged, and how.
#[derive(Debug, Args)]
pub(crate) struct LoggingArgs {
    /// Form of the log lines on stderr
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        default_value = "text",
        env = "ANSWERLAKE_LOG_FORMAT"
    )]
    #[arg(hide_env_values = true, hide_short_help = true)]
    pub(crate) log_format: LogFormat,
    /// What is logged: off, error, warn, info, debug or trace, also by module (warn,answerlake_extract=debug)
    /// [default: info; warn where progress is drawn, on a terminal]
    #[arg(long, global = true, value_name = "FILTER", env = "ANSWERLAKE_LOG")]
    #[arg(hide_env_values = true, hide_short_help = true)]
    pub(crate) log: Option<LogFilter>,
    /// Draw no progress, not on a terminal either
    #[arg(long, global = true, env = "ANSWERLAKE_NO_PROGRESS")]
    #[arg(value_parser = FalseyValueParser::new())]
    #[arg(hide_env_values = true, hide_short_help = true)]
    pub(crate) no_progress: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The range of a command; what holds without it, each says.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// First instant wanted, UTC unless it names a zone; floored to the grain
    #[arg(long, value_name = "TIME")]
    from: Option<HumanTime>,
    /// First instant not wanted; raised to the grain
    #[arg(long, value_name = "TIME")]
    to: Option<HumanTime>,
    /// One UTC day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"])]
    date: Option<NaiveDate>,
}

impl From<&RangeArgs> for Range {
    fn from(args: &RangeArgs) -> Self {
        Self {
            from: args.from.map(|time| time.0),
            to: args.to.map(|time| time.0),
            date: args.date,
        }
    }
}

/// Where the result of a run goes.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// File that the result is written to as well, as JSON; on failure, too
    #[arg(
        long,
        value_name = "FILE",
        env = "ANSWERLAKE_RESULT_FILE",
        hide_env_values = true
    )]
    pub(crate) result_file: Option<PathBuf>,
}

impl ResultArgs {
    /// The file, if one is asked for.
    pub(crate) fn result_file(&self) -> Option<&Path> {
        // A variable that is set to nothing is as good as not set.
        self.result_file
            .as_deref()
            .filter(|path| !path.as_os_str().is_empty())
    }
}

/// How the result is printed.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Form of the result on stdout; json is one line, and the last
    #[arg(
        long,
        value_name = "FORM",
        default_value = "human",
        env = "ANSWERLAKE_OUTPUT",
        hide_env_values = true
    )]
    pub(crate) output: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Human,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
