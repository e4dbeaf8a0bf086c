//! What can be asked for on the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use answerlake_model::Table;
use answerlake_pipeline::Setting;
use answerlake_pipeline::config::{HumanTime, Override};
use answerlake_pipeline::plan::Range;
use chrono::NaiveDate;
use clap::builder::{FalseyValueParser, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use clap_complete::Shell;

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

/// Exports Kore.ai Search AI's Answer Insights to a lake of partitioned Parquet
#[derive(Debug, Parser)]
#[command(name = "answerlake", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
#[command(after_long_help = EXIT_CODES)]
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
    /// Finish what killed runs left in the lake
    Recover(RecoverArgs),
    /// Bring fragments that are at hand into the lake
    Ingest(IngestArgs),
    /// Write the records back out of the lake, as they were exported
    Restore(RestoreArgs),
    /// Print the tables, column by column
    Schema(SchemaArgs),
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

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake run pipelines/support.toml
  answerlake run pipelines/support.toml --date 2025-06-28
  ANSWERLAKE_TOKEN=… answerlake run --host https://platform.kore.ai --app-id st-… --lake ./lake \\
      --from 2025-06-01 --to 2025-07-01

Which partitions are due: those of the range, and of the lookback before it, that are not committed, or were \
read before they had settled. Running again is always safe.

Every setting stands in the pipeline file, in the environment, or as a flag, each winning over the one before; \
--help lists them all.")]
pub(crate) struct RunArgs {
    /// Pipeline file, TOML; not needed when --host, --app-id and --lake are given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Read partitions of the range that are settled, too, and the files that are there: what is missing, damaged or
    /// not what the records make is written again
    #[arg(long)]
    pub(crate) force: bool,
    /// Read partitions that have not ended, or not long enough ago, too: they are committed as provisional
    #[arg(long)]
    pub(crate) include_open: bool,
    /// Exit code when there is nothing to do, such as 99 for Airflow to skip the task [default: 0]
    #[arg(long, value_name = "CODE")]
    pub(crate) skip_exit_code: Option<u8>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

/// The range of a run.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// First instant wanted, UTC unless it names a zone; floored to the grain [default: window.start]
    #[arg(long, value_name = "TIME")]
    from: Option<HumanTime>,
    /// First instant not wanted; raised to the grain [default: now, less the lag]
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

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake plan pipelines/support.toml
  answerlake plan pipelines/support.toml --from 2025-06-01 --to 2025-07-01
  answerlake plan pipelines/support.toml --workers 4 --output json

Nothing is asked of the source and nothing is written; credentials are not needed. Partitions are read that are \
uncommitted, provisional (read before they had settled), partial (nothing proves them complete), broken (files of \
them are nowhere) or forced. How long an export takes is told by those before it, and is `?` (null) where none was \
seen through.

With --output json: one line, a list of at most 1,000 entries, for Airflow's task mapping or any other orchestrator. \
Each has app_id, from, to, partitions, reasons, predicted_seconds and arguments; a worker runs
  answerlake run pipelines/support.toml ARGUMENTS…
with the same settings. Entries are independent of one another, and all of them together do what the run would have \
done. --workers N divides the rate limits among N that run at once.")]
pub(crate) struct PlanArgs {
    /// Pipeline file, TOML; not needed when --app-id and --lake are given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Plan partitions of the range that are settled, too
    #[arg(long)]
    pub(crate) force: bool,
    /// Plan partitions that have not ended, or not long enough ago, too
    #[arg(long)]
    pub(crate) include_open: bool,
    /// Workers that will run entries at once: each is given its share of the rate limits
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: u32,
    /// Exit code when there is nothing to do, such as 99 for Airflow to skip the task [default: 0]
    #[arg(long, value_name = "CODE")]
    pub(crate) skip_exit_code: Option<u8>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake status --lake ./lake
  answerlake status pipelines/support.toml --from 2025-06-01 --list
  answerlake status pipelines/support.toml --check || mail -s 'answerlake' on-call@example.com

The calendar has a line a month and a character a day: # committed, 0 committed and empty, ~ provisional (late \
records may still come), % partial (nothing proves it complete), - not due yet; and in capitals what wants somebody: \
M missing, F failed, B broken (files of it are nowhere). With hourly grain a day shows its worst hour; --list has \
the hours.

Without an app, all apps of the lake are shown. Without a range, from window.start, or else the first partition there \
is, until now. Credentials are not needed.

Problems, and with them exit code 3 under --check: partitions that failed when they were last tried, that are broken \
or missing, commits that are unfinished for more than an hour, and newest data that is older than --max-age. Days \
after the newest one have until --max-age to come. Provisional and partial days are no problem; those that the \
lookback does not reach any more are said, with what ends that.")]
pub(crate) struct StatusArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// A line for each partition, in place of the calendar; in JSON, all partitions
    #[arg(long)]
    pub(crate) list: bool,
    /// Exit with 3 when there are problems
    #[arg(long)]
    pub(crate) check: bool,
    /// How old the newest data may be
    #[arg(long, value_name = "DURATION", default_value = "26h")]
    pub(crate) max_age: answerlake_pipeline::config::HumanDuration,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake verify --lake ./lake
  answerlake verify pipelines/support.toml --date 2025-06-28 --deep
  answerlake verify --lake s3://bucket/lake --output json

Of the newest revision of each partition, every file is read: it is there, with the size and the SHA-256 that its \
manifest says; its footer has the rows, the columns and the schema version. Revisions follow one another without gaps, \
all manifests can be read, and the books balance. Files in the folders of the tables that no newest revision lists \
are found, too. With --deep every row is decoded: times lie in the partition, JSON is JSON, no record is there twice, \
each answer has its query, each chunk and call its answer, and positions count from 1.

It reads only, needs no credentials, and may run while runs are at work. Each finding says what mends it; with any, \
the exit code is 3. In JSON: status (ok or problems), checked, and findings, each with code, partition, path, message \
and mend (hint, command, arguments).")]
pub(crate) struct VerifyArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are verified
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Decode every row, and check how rows belong together
    #[arg(long)]
    pub(crate) deep: bool,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake recover --lake ./lake
  answerlake recover pipelines/support.toml

Every run does the same for its app when it starts. Commits that a killed run left unfinished are finished, and files \
that it staged and never committed are removed once they are 48 hours old. A revision of which files are nowhere is \
broken: it is said (exit code 3), and the next run that looks at its partition reads that again. Safe at any time, \
also while runs are at work.")]
pub(crate) struct RecoverArgs {
    /// Pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are recovered
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake ingest export.json --lake ./lake
  answerlake ingest 'downloads/part-*.json.gz' --lake ./lake --app-id st-…
  answerlake ingest ./lake/_answerlake/dead_letters/app_id=st-…/dt=2025-06-28 --lake ./lake      # after a fix

A fragment is what the export API serves: a JSON array of records; gzip, zstd, lines of JSON and an object \
around the array are taken too. Without --app-id, each record belongs to the app it names in botId. A day that is \
committed gets a new revision with what it holds and what is new; the same again changes nothing. Nothing \
proves that such fragments are whole, so a later run that covers their days reads those again.")]
pub(crate) struct IngestArgs {
    /// Files, folders of files, or patterns
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Pipeline file, TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake restore --lake ./lake --date 2025-06-28 > records.ndjson
  answerlake restore pipelines/support.toml --from 2025-06-01 --to 2025-07-01 --format json --out june.json

The records equal those that were exported as JSON values: their white space, the order of their members, and how \
numbers are spelled may differ. Each partition is proved by the digest in its manifest; one that is not as it was \
committed ends the command with exit code 6. Without a range, all that is committed is restored; without an app, all \
apps of the lake. Credentials are not needed.")]
pub(crate) struct RestoreArgs {
    /// Pipeline file, TOML; not needed when --lake is given
    pub(crate) pipeline: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
    /// Lines of JSON, or one array as the export API serves it
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub(crate) format: RestoreFormatArg,
    /// File that the records are written to, whole or not at all [default: stdout, without a result]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestoreFormatArg {
    Ndjson,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake schema
  answerlake schema chunks
  answerlake schema --output json
  answerlake schema --drift --lake ./lake
  answerlake schema chunks --drift --lake ./lake --from 2025-06-01 --output json

With --drift: what records brought that the columns do not hold, and that stands in `extra` therefore, by path: keys \
that have no column, values of a type that is not expected, null among them, values that a column would not give \
back exactly, and `absent` for keys that are there in every documented record. It is told by the manifests of the \
lake alone; credentials are not needed. Only paths are told, never values; keys that look like data stand as `*`. \
Records of other events than search and feedback stand whole in `events` and do not drift. `answerlake run --strict` \
fails partitions that drift.")]
pub(crate) struct SchemaArgs {
    /// One table only
    #[arg(value_parser = PossibleValuesParser::new(Table::ALL.map(Table::name)))]
    pub(crate) table: Option<String>,
    /// How prompts are stored: parts or text
    #[arg(
        long,
        value_name = "LAYOUT",
        default_value = "parts",
        conflicts_with = "drift"
    )]
    pub(crate) prompt: PromptArg,
    /// Show what drifted from the schema in a lake
    #[arg(long)]
    pub(crate) drift: bool,
    /// With --drift: pipeline file, TOML; not needed when --lake is given. Without an app, all apps of the lake are shown
    #[arg(long, value_name = "FILE", requires = "drift")]
    pub(crate) pipeline: Option<PathBuf>,
    /// With --drift: first instant looked at, UTC unless it names a zone [default: the first partition]
    #[arg(long, value_name = "TIME", requires = "drift")]
    from: Option<HumanTime>,
    /// With --drift: first instant not looked at [default: the end of the last partition]
    #[arg(long, value_name = "TIME", requires = "drift")]
    to: Option<HumanTime>,
    /// With --drift: one UTC day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"], requires = "drift")]
    date: Option<NaiveDate>,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) lake: LakeArgs,
}

impl SchemaArgs {
    /// The range that is looked at.
    pub(crate) fn range(&self) -> Range {
        Range {
            from: self.from.map(|time| time.0),
            to: self.to.map(|time| time.0),
            date: self.date,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PromptArg {
    Parts,
    Text,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  answerlake emulate
  answerlake emulate --port 8080 --from 2025-06-01 --to 2025-07-01 --records-per-day 500
  answerlake emulate --write fragments --records 5000

It prints the settings that a run needs. With --write it serves nothing: it writes fragments to a folder, as the \
API would serve them, for `answerlake ingest`.")]
pub(crate) struct EmulateArgs {
    /// Port on the loopback interface; 0 takes a free one
    #[arg(long, default_value_t = 8780)]
    pub(crate) port: u16,
    /// First day with records
    #[arg(long, value_name = "TIME", default_value = "2025-06-02")]
    pub(crate) from: HumanTime,
    /// Day after the last
    #[arg(long, value_name = "TIME", default_value = "2025-06-30")]
    pub(crate) to: HumanTime,
    /// Records a day
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(crate) records_per_day: u32,
    /// Seed of the made-up data
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub(crate) seed: u64,
    /// Distinct chunks in the made-up corpus
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pub(crate) pool: usize,
    /// Length of texts: 1 makes about 200 kB of a generative record
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) text_scale: f64,
    /// Export time of a fragment; the vendor takes about 10 s
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) fragment_time: answerlake_pipeline::config::HumanDuration,
    /// Delay of each answer
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(crate) latency: answerlake_pipeline::config::HumanDuration,
    /// Serve fragments gzipped
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Serve jobs in the older shape, one file without totals
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Compact JSON, not indented as the vendor's is
    #[arg(long)]
    pub(crate) compact: bool,
    /// Write fragments to this folder and end
    #[arg(long, value_name = "FOLDER", requires = "records")]
    pub(crate) write: Option<PathBuf>,
    /// How many records to write, spread over the days
    #[arg(long, value_name = "N", requires = "write")]
    pub(crate) records: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  answerlake demo /tmp/answerlake-demo

Run it twice: the second run finds that nothing is left to do.")]
pub(crate) struct DemoArgs {
    /// Folder of the lake
    #[arg(default_value = "answerlake-demo")]
    pub(crate) folder: PathBuf,
    /// Weeks of made-up data
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) weeks: u32,
    /// Records a day
    #[arg(long, value_name = "N", default_value_t = 80)]
    pub(crate) records_per_day: u32,
}

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

/// How a result was asked for, as far as that can be told of arguments which nobody has understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) json: bool,
    pub(crate) result_file: Option<PathBuf>,
}

impl Asked {
    /// Looks through arguments, and `environment` for what they leave open.
    pub(crate) fn of(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let (mut output, mut result_file) = (None, None);
        let mut arguments = arguments
            .into_iter()
            .map(|argument| argument.to_string_lossy().into_owned());
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let place = match flag {
                "--output" => &mut output,
                "--result-file" => &mut result_file,
                _ => continue,
            };
            *place = value.or_else(|| arguments.next());
        }
        let output = output.or_else(|| environment("ANSWERLAKE_OUTPUT"));
        let result_file = result_file.or_else(|| environment("ANSWERLAKE_RESULT_FILE"));
        Self {
            json: output.is_some_and(|output| output == "json"),
            result_file: result_file.map(PathBuf::from),
        }
    }
}

/// The settings given as flags or in the environment; their list is the pipeline's.
#[derive(Debug)]
pub(crate) struct SettingArgs(pub(crate) Vec<Override>);

/// The settings that `-h` shows; `--help` shows all.
const IN_SHORT_HELP: [&str; 4] = ["host", "app-id", "window-start", "lake"];

fn heading(section: &str) -> &'static str {
    match section {
        "source" => "Source",
        "auth" => "Authentication",
        "http" => "Network",
        "window" => "Windows",
        "jobs" => "Export jobs",
        "fetch" => "Downloads",
        "rate" => "Rate limits",
        "lake" => "Lake",
        "privacy" => "Privacy",
        _ => "Resources",
    }
}

/// Of the settings, those that every pipeline file gives.
#[derive(Debug)]
pub(crate) struct NeededArgs(pub(crate) Vec<Override>);

/// Of the settings, those that say which lake is looked at, and what of it.
#[derive(Debug)]
pub(crate) struct LakeArgs(pub(crate) Vec<Override>);

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value)
        .help(setting.help_with_default())
        .help_heading(heading(setting.section))
        .env(setting.env())
        .hide_env_values(true)
        .hide_short_help(!IN_SHORT_HELP.contains(&setting.flag))
        .action(ArgAction::Set);
    if setting.value != "BOOL" {
        return argument;
    }
    // `--strict` alone says yes; a value is told from the argument that follows by its `=`.
    argument
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
}

/// The setting's value, when it was given.
fn given(setting: &'static Setting, matches: &ArgMatches) -> Option<Override> {
    let value = matches.get_one::<String>(setting.flag)?.clone();
    let origin = match matches.value_source(setting.flag)? {
        ValueSource::EnvVariable => setting.env(),
        _ => format!("--{}", setting.flag),
    };
    // A variable that is set to nothing is as good as not set.
    (!value.is_empty()).then_some(Override {
        setting,
        value,
        origin,
    })
}

/// Settings as arguments: those of a list that is the pipeline's.
macro_rules! setting_args {
    ($name:ident, $settings:expr) => {
        impl Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.args($settings.map(argument))
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                let given = $settings.filter_map(|setting| given(setting, matches));
                Ok(Self(given.collect()))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

setting_args!(SettingArgs, Setting::ALL.iter());
setting_args!(NeededArgs, Setting::needed());
setting_args!(
    LakeArgs,
    Setting::ALL
        .iter()
        .filter(|setting| ["lake", "app-id"].contains(&setting.flag))
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_was_asked_for_is_found_in_any_arguments() {
        let asked = |arguments: &str, output: &str| {
            let environment = |name: &str| {
                (name == "ANSWERLAKE_OUTPUT" && !output.is_empty()).then(|| output.to_owned())
            };
            Asked::of(arguments.split(' ').map(OsString::from), environment)
        };
        let json = |json| Asked {
            json,
            result_file: None,
        };
        assert_eq!(asked("run --no-such --output json", ""), json(true));
        assert_eq!(asked("run --output=json", "human"), json(true));
        assert_eq!(asked("run --output human", "json"), json(false));
        assert_eq!(asked("run", "json"), json(true));
        assert_eq!(asked("run --output", ""), json(false));
        let to_file = asked("--result-file=a.json run", "").result_file;
        assert_eq!(to_file, Some(PathBuf::from("a.json")));
    }
}
