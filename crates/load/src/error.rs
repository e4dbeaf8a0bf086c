//! What can go wrong between a batch and a committed file.

use std::fmt;
use std::io;
use std::path::PathBuf;

use answerlake_model::{ConsumerName, PartitionKey, Table};

use crate::s3_answer::{OUT_OF_ORDER, S3Answer, Unreached, last_cause};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A setting of the writers is out of its bounds.
    #[error("setting `{setting}`: expected {expected}, got {got}")]
    InvalidConfig {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The lake's address cannot be understood, or not by this build.
    #[error("lake `{url}`: {reason}")]
    InvalidUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The lake cannot be opened.
    #[error("lake `{url}` cannot be opened")]
    Open {
        /// Its address.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object of the lake cannot be read, written, listed or deleted.
    #[error("cannot {action} `{path}` in the lake")]
    Store {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The object, relative to the lake.
        path: String,
        /// Why.
        source: object_store::Error,
    },
    /// An address names no object that can be written.
    #[error("`{url}`: {reason}")]
    InvalidObject {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An object that is no part of a lake cannot be written.
    #[error("cannot write `{url}`")]
    Object {
        /// Its address.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// The store understood what it was asked, and said no.
    #[error("cannot {action} `{path}` in the lake")]
    Refused {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The object, relative to the lake.
        path: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A scratch file, or the folder for it, cannot be used.
    #[error("cannot {action} scratch `{}`", path.display())]
    Scratch {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A batch does not have the columns of its table.
    #[error("table `{table}`: expected {expected}, got {got}")]
    Schema {
        /// The table.
        table: Table,
        /// What the schema says.
        expected: String,
        /// What came.
        got: String,
    },
    /// Rows cannot be encoded.
    #[error("table `{table}`: rows cannot be encoded as Parquet")]
    Encode {
        /// The table.
        table: Table,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A data file cannot be read back.
    #[error("data file `{path}` cannot be read")]
    ReadData {
        /// The file.
        path: String,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// An object of the lake does not hold what it should.
    #[error("`{path}` in the lake is not as this program writes it")]
    Malformed {
        /// The object, relative to the lake.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// An object of the lake was written by a newer program.
    #[error(
        "`{path}` in the lake has format version {found}: expected at most {known}, a newer program wrote it"
    )]
    NewerFormat {
        /// The object, relative to the lake.
        path: String,
        /// Its version.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// The run asks for other settings than the lake was made with.
    #[error("lake `{url}` was made with other settings: {}", list(differences))]
    PinMismatch {
        /// The lake's address.
        url: String,
        /// Each setting that differs.
        differences: Vec<PinDifference>,
    },
    /// The store lets an object be created twice.
    #[error(
        "lake `{url}`: the store does not honour create-if-absent (`If-None-Match: *`), so that of two runs at once each \
         could overwrite what the other commits"
    )]
    NoConditionalCreate {
        /// The lake's address.
        url: String,
        /// What it answered, where it did not just do it.
        source: Option<object_store::Error>,
    },
    /// There are tombstones, and not the key that their hashes are made with.
    #[error(
        "the lake has tombstones of who is forgotten, but not their key, `_answerlake/forgotten/key.json`"
    )]
    NoForgottenKey,
    /// A revision names files that are neither staged nor in place.
    #[error(
        "revision {revision} of partition `{partition}` is broken: {} is nowhere",
        list_quoted(missing)
    )]
    Broken {
        /// The partition.
        partition: PartitionKey,
        /// The revision.
        revision: u64,
        /// The final paths of the files, relative to the lake.
        missing: Vec<String>,
    },
    /// Others committed the partition each time that this run tried.
    #[error("partition `{partition}` is busy: lost to other commits {tries} times")]
    Busy {
        /// The partition.
        partition: PartitionKey,
        /// How often.
        tries: u32,
    },
    /// Others moved the consumer each time that this one tried.
    #[error("consumer `{name}` is busy: lost to other acknowledgements {tries} times")]
    ConsumerBusy {
        /// The consumer.
        name: ConsumerName,
        /// How often.
        tries: u32,
    },
    /// Files could not be staged in the time after which they might be cleared before their commit.
    #[error("partition `{partition}`: staging its files took more than {hours} h, {tries} times")]
    StagingTooSlow {
        /// The partition.
        partition: String,
        /// The time it may take.
        hours: i64,
        /// How often it was tried.
        tries: u32,
    },
    /// Whether the commit took place cannot be found out. What it needs is staged: a later run finishes it if it did.
    #[error(
        "revision {revision} of partition `{partition}`: it is unknown after {tries} tries whether it was committed"
    )]
    Undecided {
        /// The partition.
        partition: PartitionKey,
        /// The revision.
        revision: u64,
        /// How often it was tried.
        tries: u32,
        /// What the last try met.
        source: object_store::Error,
    },
}

impl LoadError {
    /// Whether the same call may succeed later without anyone's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } | Self::Object { source, .. } => is_transient(source),
            Self::Refused { source, .. } => is_retryable_refusal(&**source),
            Self::Undecided { source, .. } => !is_refusal(source),
            // A broken revision is replaced by the next commit.
            Self::Busy { .. }
            | Self::ConsumerBusy { .. }
            | Self::Broken { .. }
            | Self::StagingTooSlow { .. } => true,
            _ => false,
        }
    }

    /// What to do about it, where the store is not on this machine.
    pub fn hint(&self) -> Option<String> {
        let source: &(dyn std::error::Error + 'static) = match self {
            Self::Store { source, .. }
            | Self::Object { source, .. }
            | Self::Undecided { source, .. } => source,
            Self::Refused { source, .. } => &**source,
            Self::NoConditionalCreate { .. } => {
                return Some(
                    "put the lake on a store that honours it, as Amazon S3, Cloudflare R2 and MinIO do"
                        .to_owned(),
                );
            }
            Self::Open { source, .. }
                if last_cause(&**source)
                    .to_string()
                    .contains("CA certificates") =>
            {
                return Some(
                    "install the certificates of the system (the package `ca-certificates`), or name a PEM file of them \
                     with --ca-file or AWS_CA_BUNDLE"
                        .to_owned(),
                );
            }
            _ => return None,
        };
        if let Some(unreached) = Unreached::among(source) {
            return Some(unreached.hint().to_owned());
        }
        match S3Answer::among(source) {
            Some(answer) => answer.hint(),
            // Its own repetitions came to an end.
            None => source
                .downcast_ref()
                .is_some_and(|error| {
                    matches!(error, object_store::Error::Generic { store: "S3", .. })
                })
                .then(|| OUT_OF_ORDER.to_owned()),
        }
    }

    /// Whether the lake lies where this machine does not let us write.
    pub fn is_not_allowed(&self) -> bool {
        match self {
            Self::Store { source, .. } | Self::Undecided { source, .. } => is_not_allowed(source),
            _ => false,
        }
    }

    /// Whether an object is not there.
    pub fn is_not_found(&self) -> bool {
        let Self::Store { source, .. } = self else {
            return false;
        };
        matches!(source, object_store::Error::NotFound { .. })
    }

    /// Adds what was tried on which object.
    pub(crate) fn store(
        action: &'static str,
        path: &object_store::path::Path,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.to_string();
        move |source| match refusal(&source) {
            Some(source) => Self::Refused {
                action,
                path,
                source,
            },
            None => Self::Store {
                action,
                path,
                source,
            },
        }
    }

    pub(crate) fn scratch(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Scratch {
            action,
            path,
            source,
        }
    }

    pub(crate) fn encode(table: Table) -> impl Fn(parquet::errors::ParquetError) -> Self + Copy {
        move |source| Self::Encode { table, source }
    }
}

/// What S3 said no with, if it did; which request that was, the rest of the message says better.
fn refusal(error: &object_store::Error) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    if let Some(Unreached::NoCredentials) = Unreached::among(error) {
        return Some(Box::new(Unreached::NoCredentials));
    }
    S3Answer::among(error).map(|answer| Box::new(answer.clone()) as _)
}

fn is_retryable_refusal(refusal: &(dyn std::error::Error + 'static)) -> bool {
    S3Answer::among(refusal).is_some_and(S3Answer::is_retryable)
}

fn is_transient(error: &object_store::Error) -> bool {
    use object_store::Error;
    if let Some(refusal) = refusal(error) {
        return is_retryable_refusal(&*refusal);
    }
    // `Generic` is what a store answers when its own retries came to an end; a local one also for what will not pass.
    matches!(error, Error::Generic { .. } | Error::JoinError { .. }) && !is_not_allowed(error)
}

/// Whether this machine does not let us write, or read, there.
fn is_not_allowed(error: &object_store::Error) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    local_kind(error)
        .is_some_and(|kind| [NotADirectory, PermissionDenied, ReadOnlyFilesystem].contains(&kind))
}

/// Whether a file cannot be moved because its new place lies on another disk.
pub(crate) fn is_on_another_disk(error: &object_store::Error) -> bool {
    local_kind(error) == Some(io::ErrorKind::CrossesDevices)
}

/// What the disk said, where the store is one.
fn local_kind(error: &object_store::Error) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}

/// Whether the store understood and will not do it, so that asking again is of no use.
pub(crate) fn is_refusal(error: &object_store::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    use object_store::Error;
    is_refused_by_s3(error)
        || matches!(
            error,
            Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
        )
        || is_not_allowed(error)
        || local_kind(error).is_some_and(|kind| [QuotaExceeded, StorageFull].contains(&kind))
}

/// The same of S3 alone, which then has done nothing. A disk may have done it all but make it durable.
pub(crate) fn is_refused_by_s3(error: &object_store::Error) -> bool {
    refusal(error).is_some_and(|refusal| !is_retryable_refusal(&*refusal))
}

/// A setting that differs between the lake's pin and a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDifference {
    /// Its name.
    pub setting: String,
    /// Its value in the lake, as JSON; absent when the lake knows no such setting.
    pub lake: Option<String>,
    /// The value that the run asks for, as JSON; absent when this program knows no such setting.
    pub run: Option<String>,
}

impl fmt::Display for PinDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| match value {
            Some(value) => format!("`{value}`"),
            None => "nothing".to_owned(),
        };
        write!(
            f,
            "`{}`: lake has {}, run asks {}",
            self.setting,
            shown(&self.lake),
            shown(&self.run)
        )
    }
}

fn list(differences: &[PinDifference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn list_quoted(paths: &[String]) -> String {
    let texts: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
    texts.join(", ")
}
