//! What the program left in a lake, read without any of its own code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value, json};

/// All tables.
pub(crate) const TABLES: [&str; 6] = [
    "queries",
    "feedback",
    "answers",
    "chunks",
    "llm_calls",
    "events",
];

/// A row by column, as JSON; times as microseconds, and `dt` and `hour` from the path.
pub(crate) type Row = Map<String, Value>;

/// A lake on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Lake(PathBuf);

/// What tells a file that was written or touched from one that was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    pub(crate) content: u64,
    inode: u64,
    modified: SystemTime,
}

impl Lake {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(crate) fn url(&self) -> String {
        self.0.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Every file, relative to the lake.
    pub(crate) fn files(&self) -> Vec<String> {
        files_below(&self.0)
    }

    /// Every file whose path begins with `folder`.
    pub(crate) fn files_below(&self, folder: &str) -> Vec<String> {
        let mut files = self.files();
        files.retain(|file| file.starts_with(folder));
        files
    }

    /// Every file with what tells whether it was written or touched.
    pub(crate) fn stamps(&self) -> BTreeMap<String, Stamp> {
        let stamp = |file: &String| {
            let path = self.path(file);
            let metadata = path.metadata().unwrap();
            let content = std::fs::read(&path).unwrap();
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            Stamp {
                bytes: metadata.len(),
                content: hasher.finish(),
                inode: metadata.ino(),
                modified: metadata.modified().unwrap(),
            }
        };
        let files = self.files().into_iter();
        files.map(|file| (file.clone(), stamp(&file))).collect()
    }

    /// The data files by content.
    pub(crate) fn data_files(&self) -> BTreeMap<String, u64> {
        let stamps = self.stamps().into_iter();
        stamps
            .filter(|(file, _)| !file.starts_with("_answerlake/"))
            .map(|(file, stamp)| (file, stamp.content))
            .collect()
    }

    /// The manifests of each partition, oldest first.
    pub(crate) fn manifests(&self) -> BTreeMap<String, Vec<Value>> {
        let mut manifests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for file in self.files() {
            let Some(path) = file
                .strip_prefix("_answerlake/commits/")
                .and_then(|file| file.strip_suffix(".json"))
            else {
                continue;
            };
            let (partition, _) = path.rsplit_once('/').unwrap();
            let manifest = std::fs::read(self.path(&file)).unwrap();
            manifests
                .entry(partition.to_owned())
                .or_default()
                .push(serde_json::from_slice(&manifest).unwrap());
        }
        manifests
    }

    /// The newest manifest of each partition.
    pub(crate) fn newest(&self) -> BTreeMap<String, Value> {
        let manifests = self.manifests().into_iter();
        manifests
            .map(|(partition, mut revisions)| (partition, revisions.pop().unwrap()))
            .collect()
    }

    /// What each partition holds, as one hash.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        let newest = self.newest().into_iter();
        newest
            .map(|(partition, manifest)| {
                let digest = manifest["content_digest"].as_str().unwrap();
                assert!(!digest.is_empty());
                (partition, digest.to_owned())
            })
            .collect()
    }

    /// The days that are committed.
    pub(crate) fn days(&self) -> BTreeSet<String> {
        let partitions = self.newest().into_keys();
        partitions
            .map(|partition| hive_value(&partition, "dt").unwrap().to_owned())
            .collect()
    }

    /// All rows of a table, in the order of their files.
    pub(crate) fn rows(&self, table: &str) -> Vec<Row> {
        let mut rows = Vec::new();
        for file in self.files() {
            if !file.starts_with(&format!("{table}/")) {
                continue;
            }
            let reader = SerializedFileReader::new(File::open(self.path(&file)).unwrap()).unwrap();
            for row in reader.get_row_iter(None).unwrap() {
                let mut row: Row = row
                    .unwrap()
                    .into_columns()
                    .into_iter()
                    .map(|(column, field)| (column, value(&field)))
                    .collect();
                for name in ["app_id", "dt", "hour"] {
                    if let Some(value) = hive_value(&file, name) {
                        row.insert(name.to_owned(), json!(value));
                    }
                }
                rows.push(row);
            }
        }
        rows
    }

    /// Rows of each table.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        TABLES
            .into_iter()
            .map(|table| (table, self.rows(table).len() as u64))
            .collect()
    }

    /// Checks what holds of any lake at rest: it is sound, nothing is staged and no job is in flight.
    #[track_caller]
    pub(crate) fn assert_whole(&self) {
        for folder in ["_answerlake/staging/", "_answerlake/jobs/"] {
            let left = self.files_below(folder);
            assert!(left.is_empty(), "{left:?}");
        }
        self.assert_sound();
    }

    /// Checks what holds of any lake after a run that ended well, whatever killed runs left beside: every revision is
    /// published, the data files are just those of the newest revisions and as these say, and the books balance.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let files: BTreeSet<String> = self.files().into_iter().collect();
        let mut expected = BTreeSet::new();
        for (partition, revisions) in self.manifests() {
            for (revision, manifest) in (1..).zip(&revisions) {
                assert_eq!(manifest["revision"], revision, "{partition}");
                let marker = format!("_answerlake/commits/{partition}/{revision:08}.published");
                assert!(files.contains(&marker), "{marker} is missing");
            }
            let newest = revisions.last().unwrap();
            self.check_books(&partition, newest);
            for file in newest["files"].as_array().unwrap() {
                let path = file["path"].as_str().unwrap();
                let metadata = self.path(path).metadata().unwrap();
                assert_eq!(file["bytes"], metadata.len(), "{path}");
                let reader = SerializedFileReader::new(File::open(self.path(path)).unwrap());
                let rows = reader.unwrap().metadata().file_metadata().num_rows();
                assert_eq!(file["rows"], rows, "{path}");
                expected.insert(path.to_owned());
            }
        }
        let data: BTreeSet<String> = files
            .into_iter()
            .filter(|file| !file.starts_with("_answerlake/"))
            .collect();
        assert_eq!(data, expected);
    }

    #[track_caller]
    fn check_books(&self, partition: &str, manifest: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{manifest}"));
        let books = &manifest["books"];
        let written = number(&books["written"]);
        assert_eq!(
            number(&books["assigned"]) + books["held"].as_u64().unwrap_or(0),
            written
                + number(&books["duplicates"])
                + number(&books["dead_letters"])
                + books["forgotten"].as_u64().unwrap_or(0),
            "{partition}: {books}"
        );
        let of_records: u64 = manifest["files"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|file| {
                ["queries", "feedback", "events"].contains(&file["table"].as_str().unwrap())
            })
            .map(|file| number(&file["rows"]))
            .sum();
        assert_eq!(of_records, written, "{partition}: one row a record");
        for job in manifest["jobs"].as_array().unwrap() {
            let decoded = number(&job["decoded"]);
            let places = ["margin", "strays", "unassigned", "assigned"];
            let placed: u64 = places.iter().map(|place| number(&job[place])).sum();
            assert_eq!(decoded, placed, "{partition}: {job}");
        }
    }
}

/// Every file below a folder, relative to it, by name; none where there is no folder.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    fn visit(folder: &Path, prefix: &str, files: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                visit(&entry.path(), &format!("{name}/"), files);
            } else {
                files.push(name);
            }
        }
    }
    let mut files = Vec::new();
    visit(folder, "", &mut files);
    files.sort();
    files
}

fn hive_value<'p>(path: &'p str, name: &str) -> Option<&'p str> {
    path.split('/')
        .find_map(|folder| folder.strip_prefix(name)?.strip_prefix('='))
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) | Field::TimestampMicros(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(value) => json!(value),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => panic!("a column of a type that no table has: {other:?}"),
    }
}
