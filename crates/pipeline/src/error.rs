//! What can go wrong around the three stages; what goes wrong inside them is passed on.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use answerlake_extract::{ErrorKind, ExtractError};
use answerlake_load::LoadError;
use answerlake_model::PartitionKey;
use answerlake_transform::{FragmentError, RestoreError};

use crate::config::Setting;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The program's arguments are refused.
    #[error("{reason}")]
    Usage {
        /// What is wrong with them.
        reason: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// Something that nobody has foreseen.
    #[error("{reason}")]
    Unexpected {
        /// What happened.
        reason: String,
    },
    /// A file that the settings name cannot be read.
    #[error("cannot read `{}`", path.display())]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pipeline file is not as it should be.
    #[error("pipeline file `{}`, line {line}: {reason}", path.display())]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong. Never the line itself: somebody may have put a secret there.
        reason: String,
    },
    /// A pipeline file as `init` wrote it, not filled in yet.
    #[error("pipeline file `{}` is to be filled in: {settings}", path.display())]
    ToFillIn {
        /// The file.
        path: PathBuf,
        /// The settings.
        settings: String,
        /// Their flags.
        flags: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{setting}: {reason}")]
    InvalidSetting {
        /// Where it was given.
        setting: String,
        /// What was expected.
        reason: String,
    },
    /// A setting that is needed is not given.
    #[error("`{setting}` is missing: give it in the pipeline file or as `--{flag}`")]
    Missing {
        /// Its place in the pipeline file.
        setting: &'static str,
        /// Its flag.
        flag: &'static str,
    },
    /// A setting names a variable of the environment that is not there.
    #[error("environment variable `{name}` is not set or empty; setting `{setting}` names it")]
    MissingVariable {
        /// The variable.
        name: String,
        /// The setting.
        setting: &'static str,
    },
    /// More than one way to authenticate is given.
    #[error("two ways to authenticate are given: {first} and {second}")]
    TwoWaysToAuthenticate {
        /// One.
        first: String,
        /// Another.
        second: String,
    },
    /// No way to authenticate is given.
    #[error(
        "no way to authenticate: set ANSWERLAKE_TOKEN, or ANSWERLAKE_CLIENT_ID and ANSWERLAKE_CLIENT_SECRET, or an \
         [auth] section in the pipeline file"
    )]
    NoAuthentication,
    /// The range of a run is not one.
    #[error("{reason}")]
    InvalidRange {
        /// What is wrong with it, and what to write.
        reason: String,
    },
    /// A path to ingest holds nothing.
    #[error(
        "`{pattern}`: expected a fragment, a folder of fragments or a pattern that matches some, got none"
    )]
    NothingToIngest {
        /// The path as it was given.
        pattern: String,
    },
    /// What is to replace partitions is not proven whole.
    #[error(
        "`{pattern}`: expected what `[landing]` kept, a folder with a `landing.json` somewhere in it: nothing else is \
         proven whole, so that it could replace what is there"
    )]
    NoLanding {
        /// The path as it was given.
        pattern: String,
    },
    /// A landing cannot be used.
    #[error("landing `{folder}`: {reason}")]
    Landing {
        /// Where it lies.
        folder: String,
        /// Why.
        reason: String,
    },
    /// A pattern for files to ingest is none.
    #[error("`{pattern}` is no pattern, at character {position}: {reason}")]
    InvalidPattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
        /// Where.
        position: usize,
    },
    /// Getting the fragments failed.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// A fragment cannot be read as one.
    #[error("{origin}")]
    Fragment {
        /// Which fragment, of which job or file.
        origin: String,
        /// What is wrong with it.
        source: FragmentError,
    },
    /// A file to ingest cannot be read as a fragment.
    #[error("{}", path.display())]
    FileAtHand {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FragmentError,
    },
    /// A fragment holds another number of records than its job says.
    #[error("{origin}: expected {promised} records, got {decoded}")]
    WrongRecordCount {
        /// Which fragment, of which job.
        origin: String,
        /// `recordCount`.
        promised: u64,
        /// What was met.
        decoded: u64,
    },
    /// The books of a window do not balance.
    #[error("window {window}: the books do not balance: {reason}")]
    Books {
        /// The window.
        window: String,
        /// The numbers.
        reason: String,
    },
    /// Writing to the lake failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A partition was committed by another run while records were joined with those that it held.
    #[error(
        "partition `{partition}` was committed by another run meanwhile, as revision {revision}"
    )]
    CommittedMeanwhile {
        /// The partition.
        partition: PartitionKey,
        /// Its newest revision.
        revision: u64,
    },
    /// An export lacks records that a partition holds.
    #[error(
        "partition `{partition}` has shrunk: the export lacks {lost} records of revision {revision}, `{example}` among them"
    )]
    Shrunk {
        /// The partition.
        partition: PartitionKey,
        /// Its newest revision.
        revision: u64,
        /// How many it lacks.
        lost: u64,
        /// The id of one of them.
        example: String,
    },
    /// A file of strays or dead letters cannot be read as one.
    #[error("`{path}` in the lake cannot be read line by line")]
    KeptFile {
        /// The file, relative to the lake.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Ids are looked for that the lake does not hold.
    #[error("{reason}")]
    NoIdsHeld {
        /// Which, and why.
        reason: String,
    },
    /// There is no lake to read.
    #[error("there is no lake at `{url}`")]
    NoLake {
        /// Its address.
        url: String,
    },
    /// The rows of a partition make no records.
    #[error("partition `{partition}` cannot be restored")]
    Restore {
        /// The partition.
        partition: PartitionKey,
        /// What is wrong with them.
        source: RestoreError,
    },
    /// The rows of a partition make other records than those it was committed with.
    #[error(
        "partition `{partition}`: the records restored are not those committed: expected content digest `{expected}`, got `{found}`"
    )]
    OtherContent {
        /// The partition.
        partition: PartitionKey,
        /// The digest in the manifest.
        expected: String,
        /// The digest of what was restored.
        found: String,
    },
    /// What was asked for cannot be written out.
    #[error("cannot write the records")]
    Output(#[source] io::Error),
    /// A partition has what a strict run does not take.
    #[error("partition `{partition}` is not committed, as `run.strict` is on: {findings}")]
    Strict {
        /// The partition.
        partition: PartitionKey,
        /// What it has.
        findings: String,
    },
    /// Of all records that came, none could be loaded.
    #[error("none of {records} records can be loaded: {first}")]
    NothingLoaded {
        /// How many came.
        records: u64,
        /// What is wrong with the first.
        first: String,
    },
    /// Scratch cannot be used.
    #[error("cannot {action} scratch `{}`", path.display())]
    Scratch {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The threads that compute cannot be started, or one of them died.
    #[error("{reason}")]
    Threads {
        /// What happened.
        reason: String,
    },
    /// The run was told twice to stop.
    #[error("stopped at once: a commit under way is finished by the next run")]
    StoppedAtOnce,
    /// An ingest was told to stop before its commit.
    #[error("stopped before anything was committed")]
    IngestStopped,
    /// The run was told to stop before this was done.
    #[error("stopped before it was done")]
    Stopped,
}

/// Who has to do something about a failure; the program chooses its exit code by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// The run was stopped.
    Stopped,
    /// The lake.
    Lake,
    /// The source failed.
    Source,
    /// This machine or this program.
    Unexpected,
    /// The source refuses us.
    Refused,
    /// Settings or usage.
    Configuration,
}

const LAKE_FOLDER: &str =
    "give a folder with --lake that is there or can be made, and that this user may write to";

impl PipelineError {
    /// Who has to do something about it.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Usage { .. }
            | Self::ReadConfig { .. }
            | Self::ToFillIn { .. }
            | Self::ParseConfig { .. }
            | Self::InvalidSetting { .. }
            | Self::Missing { .. }
            | Self::MissingVariable { .. }
            | Self::TwoWaysToAuthenticate { .. }
            | Self::NoAuthentication
            | Self::InvalidRange { .. }
            | Self::NothingToIngest { .. }
            | Self::InvalidPattern { .. }
            | Self::Landing { .. }
            | Self::NoLanding { .. }
            | Self::NoIdsHeld { .. }
            | Self::NoLake { .. } => FailureKind::Configuration,
            Self::Extract(error) => match error.kind() {
                ErrorKind::Configuration => FailureKind::Configuration,
                ErrorKind::Refused => FailureKind::Refused,
                ErrorKind::Source => FailureKind::Source,
                ErrorKind::Store => FailureKind::Lake,
                ErrorKind::Local => FailureKind::Unexpected,
            },
            // Its fragments lie in scratch.
            Self::Fragment {
                source: FragmentError::Read(_),
                ..
            } => FailureKind::Unexpected,
            Self::Fragment { .. }
            | Self::FileAtHand { .. }
            | Self::WrongRecordCount { .. }
            | Self::Books { .. }
            | Self::Shrunk { .. }
            | Self::Strict { .. }
            | Self::NothingLoaded { .. } => FailureKind::Source,
            Self::Load(
                LoadError::InvalidConfig { .. }
                | LoadError::InvalidUrl { .. }
                | LoadError::InvalidObject { .. }
                | LoadError::PinMismatch { .. },
            ) => FailureKind::Configuration,
            Self::Scratch { source, .. } if is_no_such_folder(source) => FailureKind::Configuration,
            Self::Load(
                LoadError::Scratch { .. } | LoadError::Encode { .. } | LoadError::Object { .. },
            )
            | Self::Scratch { .. }
            | Self::Threads { .. }
            | Self::Output(_)
            | Self::Unexpected { .. } => FailureKind::Unexpected,
            Self::Load(_)
            | Self::KeptFile { .. }
            | Self::CommittedMeanwhile { .. }
            | Self::Restore { .. }
            | Self::OtherContent { .. } => FailureKind::Lake,
            Self::Stopped | Self::IngestStopped | Self::StoppedAtOnce => FailureKind::Stopped,
        }
    }

    /// Whether the same run may succeed later without anyone's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            _ if is_disk_full(self) => true,
            Self::Extract(
                ExtractError::JobStore { source, .. } | ExtractError::Landing { source },
            ) => source.downcast_ref().is_none_or(LoadError::is_retryable),
            Self::Extract(error) => error.is_retryable(),
            Self::Load(error) => error.is_retryable(),
            Self::Fragment { source, .. } => source.is_retryable(),
            Self::Restore {
                source: RestoreError::Read { source, .. },
                ..
            } => source.downcast_ref().is_some_and(LoadError::is_retryable),
            Self::WrongRecordCount { .. }
            | Self::Books { .. }
            | Self::Shrunk { .. }
            | Self::CommittedMeanwhile { .. }
            | Self::Stopped
            | Self::IngestStopped
            | Self::StoppedAtOnce => true,
            _ => false,
        }
    }

    /// The lake's error, if it is one: jobs in flight are kept in the lake, too.
    fn load_error(&self) -> Option<&LoadError> {
        match self {
            Self::Load(error) => Some(error),
            Self::Extract(
                ExtractError::JobStore { source, .. } | ExtractError::Landing { source },
            ) => source.downcast_ref(),
            _ => None,
        }
    }

    /// What to do about it, where that is not in the message.
    pub fn hint(&self) -> Option<String> {
        let is_full = is_disk_full(self);
        Some(match self {
            Self::Usage { hint, .. } => return hint.clone(),
            Self::ToFillIn { flags, .. } => format!(
                "write what they are in place of `{}`, or give them as {flags}",
                Setting::TO_FILL_IN
            ),
            Self::Missing { .. } => "`answerlake init` writes a pipeline file with all settings, to be filled in".to_owned(),
            _ if is_full && self.kind() == FailureKind::Lake => {
                "the disk of the lake is full: make room on it and run again; nothing of what failed can be seen in the lake"
                    .to_owned()
            }
            _ if is_full => {
                "the disk of scratch is full: make room on it, or give a folder on another disk with --scratch or TMPDIR, \
                 and run again"
                    .to_owned()
            }
            Self::TwoWaysToAuthenticate { .. } => {
                "keep one of them: a ready token, or client id and client secret".to_owned()
            }
            Self::Load(LoadError::PinMismatch { .. }) => {
                "use the lake's settings, or another --lake".to_owned()
            }
            Self::Scratch { source, .. } if is_no_such_folder(source) => {
                "make that folder, or give another with --scratch or TMPDIR: one that this user may write to, with room \
                 for the fragments of a window"
                    .to_owned()
            }
            _ if self.load_error().is_some_and(|error| error.hint().is_some()) => {
                return self.load_error()?.hint();
            }
            Self::Load(LoadError::Open { url, .. }) if !url.starts_with("s3") => {
                LAKE_FOLDER.to_owned()
            }
            _ if self.load_error().is_some_and(LoadError::is_not_allowed) => {
                LAKE_FOLDER.to_owned()
            }
            Self::Fragment {
                source: FragmentError::Read(_),
                ..
            } => return None,
            Self::FileAtHand { .. } => {
                "a fragment is a JSON array of records as the export API serves it, gzip or not".to_owned()
            }
            Self::Scratch { .. } | Self::Load(LoadError::Scratch { .. }) => {
                "give another folder with --scratch, with room for the fragments of a window".to_owned()
            }
            Self::Shrunk { .. } => {
                "nothing was replaced; if the source really holds fewer records now, run with --on-shrink keep, which keeps \
                 them beside what came, or --on-shrink replace, which drops them"
                    .to_owned()
            }
            Self::Strict { .. } => {
                "nothing of it is in the lake but its dead letters and strays, under _answerlake; to commit it all the same, with \
                 what drifts in the columns `extra`, run with --strict=false"
                    .to_owned()
            }
            Self::NothingLoaded { .. } => {
                "the records are kept as dead letters, under _answerlake/dead_letters in the lake".to_owned()
            }
            Self::CommittedMeanwhile { .. } => {
                "run again: the records are joined with what the partition holds then".to_owned()
            }
            Self::Fragment { .. } | Self::WrongRecordCount { .. } | Self::Books { .. } => {
                "run again: the export is asked for anew".to_owned()
            }
            _ => return None,
        })
    }
}

/// Whether a folder is not there, or not for this user to write to.
fn is_no_such_folder(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    [
        NotADirectory,
        NotFound,
        PermissionDenied,
        ReadOnlyFilesystem,
    ]
    .contains(&error.kind())
}

/// Whether a disk, or somebody's share of it, is full, however deep in the causes that stands.
fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_some_and(|error| [QuotaExceeded, StorageFull].contains(&error.kind())) {
            return true;
        }
        // An I/O error shows what it wraps as itself, not as its cause.
        cause = match io_error.map(io::Error::get_ref) {
            Some(Some(wrapped)) => Some(wrapped),
            _ => error.source(),
        };
    }
    false
}

/// An error with all its causes, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat what their source says.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
