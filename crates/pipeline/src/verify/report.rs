//! What was verified, what is wrong, and what mends it.

use answerlake_load::{Fault, Finding};
use answerlake_model::PartitionKey;
use serde::Serialize;

use crate::status::{Health, run_arguments};

/// What was verified and what is wrong.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Whether there are findings.
    pub status: Health,
    /// The lake's address.
    pub lake: String,
    /// Whether every row was decoded.
    pub deep: bool,
    /// What was verified.
    pub checked: CheckedCounts,
    /// What is wrong: by app, and by partition.
    pub findings: Vec<FindingReport>,
}

/// How much was verified.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckedCounts {
    /// Apps.
    pub apps: u64,
    /// Partitions.
    pub partitions: u64,
    /// Files that the newest revisions list.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// Records, by the books.
    pub records: u64,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, Serialize)]
pub struct FindingReport {
    /// What kind of thing.
    pub code: Fault,
    /// The app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The partition, as its hive path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The object, relative to the lake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What was expected and what was found.
    pub message: String,
    /// What mends it.
    pub mend: Mend,
}

/// What mends something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mend {
    /// For people.
    pub hint: &'static str,
    /// The command that does it, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<&'static str>,
    /// What that command is to be told, beside the settings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

impl CheckedCounts {
    pub(super) fn add(&mut self, more: &Self) {
        self.apps += more.apps;
        self.partitions += more.partitions;
        self.files += more.files;
        self.bytes += more.bytes;
        self.rows += more.rows;
        self.records += more.records;
    }
}

impl From<Finding> for FindingReport {
    fn from(finding: Finding) -> Self {
        let key = finding.partition.as_ref();
        Self {
            code: finding.fault,
            app_id: key.map(|key| key.app_id().to_string()),
            partition: key.map(ToString::to_string),
            mend: mend(finding.fault, key),
            path: finding.path,
            message: finding.message,
        }
    }
}

fn mend(fault: Fault, key: Option<&PartitionKey>) -> Mend {
    let by_hand = |hint| Mend {
        hint,
        command: None,
        arguments: Vec::new(),
    };
    match fault {
        Fault::Unpublished => Mend {
            hint: "finish the commit; the next run does so, too",
            command: Some("recover"),
            arguments: Vec::new(),
        },
        Fault::NotForgotten => Mend {
            hint: "a run that was killed may have brought them back: remove whoever is forgotten once more",
            command: Some("forget"),
            arguments: vec!["--apply".to_owned()],
        },
        Fault::PinMissing | Fault::WrongGrain => {
            by_hand("restore `_answerlake/lake` from a backup, before a run makes the lake anew")
        }
        Fault::ManifestMissing | Fault::ManifestUnreadable | Fault::ManifestMisplaced => {
            by_hand("restore it from a backup")
        }
        Fault::MarkerMissing => by_hand("make an empty file of that name; readers do not need it"),
        Fault::UnlistedFile => by_hand("remove it"),
        Fault::NothingCommitted => by_hand("look at the app and the range"),
        Fault::StraysMissing => {
            by_hand("restore them from a backup, or read the days of the jobs again: `run --force`")
        }
        _ => Mend {
            hint: "read the partition again and write it anew; or restore it from a backup",
            command: Some("run"),
            arguments: key.map_or_else(Vec::new, |key| {
                let mut arguments = run_arguments(&key.window());
                arguments.push("--force".to_owned());
                arguments
            }),
        },
    }
}
