//! A partition against its manifests: is everything there, as it was committed, and do the books balance.
//!
//! It reads only, and may do so while runs are at work: what it finds holds for the revisions that it was given, and
//! whoever asks looks whether these are the newest still before he believes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use answerlake_model::{AppId, JobBooks, PartitionKey, PerTable, Table, TableSchema};
use object_store::path::Path;
use serde::Serialize;

use crate::data_file::{DataFile, Origin};
use crate::error::LoadError;
use crate::lake::Lake;
use crate::location::{self, CommitObject};
use crate::manifest::Manifest;
use crate::store::all;

/// Something in a lake that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub fault: Fault,
    /// The partition; absent where there is none.
    pub partition: Option<PartitionKey>,
    /// The object, relative to the lake; absent where it is about none.
    pub path: Option<String>,
    /// What was expected and what was found.
    pub message: String,
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Partitions are committed and nothing says how the lake is made.
    PinMissing,
    /// A partition is not cut as the lake says.
    WrongGrain,
    /// A revision has no manifest, though its marker or a later revision is there.
    ManifestMissing,
    /// A manifest cannot be read.
    ManifestUnreadable,
    /// A manifest speaks of another partition or revision than its place, or lists what cannot belong to it.
    ManifestMisplaced,
    /// A revision that has a successor has no marker.
    MarkerMissing,
    /// The newest revision is committed, and its files are not in place.
    Unpublished,
    /// A committed file is not there.
    FileMissing,
    /// A committed file has another size.
    WrongSize,
    /// A committed file has other bytes.
    WrongChecksum,
    /// A file has another number of rows than its manifest says.
    WrongRows,
    /// A file or a manifest has another schema version than it should.
    WrongSchemaVersion,
    /// A file has other columns than its table.
    WrongColumns,
    /// A file cannot be decoded.
    Undecodable,
    /// The books of a partition do not balance.
    PartitionBooks,
    /// The books of a job do not balance.
    JobBooks,
    /// The books count dead letters that are not there.
    DeadLettersMissing,
    /// The books count strays that are not there.
    StraysMissing,
    /// No newest revision lists a file.
    UnlistedFile,
    /// A row's time lies outside its partition.
    WrongTime,
    /// A column of JSON holds what is none.
    InvalidJson,
    /// Records of one partition have the same event and id.
    DuplicateRecord,
    /// Rows belong to a search that is not there.
    QueryMissing,
    /// Rows belong to an answer that is not there.
    AnswerMissing,
    /// A search does not have as many answers as it says.
    WrongAnswerCount,
    /// Positions do not count from 1 without gaps.
    WrongPositions,
    /// The rows of a partition do not make the records that it was committed with.
    WrongContent,
    /// Records are there that are forgotten.
    NotForgotten,
    /// Nothing is committed of what was asked for.
    NothingCommitted,
}

/// What must hold of all partitions of a lake.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The tables' columns. That a column is never null is proved by them: Parquet has no place for a null then.
    pub schemas: Arc<PerTable<TableSchema>>,
    /// The version of those.
    pub schema_version: u32,
    /// The version that the lake is pinned to.
    pub pinned_version: u32,
}

/// Which revisions of a partition a listing shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revisions {
    /// Those that have a manifest, ascending.
    manifests: Vec<u64>,
    /// Those that have a marker, ascending.
    markers: Vec<u64>,
}

/// A partition that was checked.
#[derive(Debug)]
pub struct Checked {
    /// Its newest revision's manifest, where that can be read.
    pub manifest: Option<Manifest>,
    /// Whether its files are in place and all of them are as the manifest says, so that their rows can be looked at.
    pub is_intact: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

impl Revisions {
    /// The newest that has a manifest.
    pub fn newest(&self) -> Option<u64> {
        self.manifests.last().copied()
    }

    /// Whether the newest of them has its files in place.
    pub fn is_published(&self) -> bool {
        self.newest().is_some_and(|newest| self.has_marker(newest))
    }

    /// Whether a later one was there, and is gone.
    pub(crate) fn lacks_newest(&self) -> bool {
        self.markers.last() > self.manifests.last()
    }

    pub(crate) fn has_marker(&self, revision: u64) -> bool {
        self.markers.binary_search(&revision).is_ok()
    }

    fn sort(&mut self) {
        self.manifests.sort_unstable();
        self.markers.sort_unstable();
    }
}

impl Lake {
    /// The revisions of each partition, of one app or of all, by a listing alone.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn revisions(
        &self,
        app_id: Option<&AppId>,
    ) -> Result<BTreeMap<PartitionKey, Revisions>, LoadError> {
        self.revisions_below(&app_id.map_or_else(location::commits, location::app_commits))
            .await
    }

    /// The revisions of one partition.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn revisions_of(&self, key: &PartitionKey) -> Result<Revisions, LoadError> {
        let mut revisions = self
            .revisions_below(&location::partition_commits(key))
            .await?;
        Ok(revisions.remove(key).unwrap_or_default())
    }

    async fn revisions_below(
        &self,
        folder: &Path,
    ) -> Result<BTreeMap<PartitionKey, Revisions>, LoadError> {
        let mut found: BTreeMap<PartitionKey, Revisions> = BTreeMap::new();
        for path in self.store.list_paths(folder, None).await? {
            match location::parse_commit_object(&path) {
                Some(CommitObject::Manifest(key, revision)) => {
                    found.entry(key).or_default().manifests.push(revision);
                }
                Some(CommitObject::Marker(key, revision)) => {
                    found.entry(key).or_default().markers.push(revision);
                }
                None => {}
            }
        }
        found.values_mut().for_each(Revisions::sort);
        Ok(found)
    }

    /// Checks a partition: its manifests, the files of the newest with their checksums and footers, and its books.
    ///
    /// # Errors
    /// When the store cannot be read; what the lake holds is never an error.
    pub async fn check_partition(
        &self,
        key: &PartitionKey,
        revisions: &Revisions,
        expected: &Expected,
    ) -> Result<Checked, LoadError> {
        let mut findings = self.check_revisions(key, revisions).await?;
        let newest = revisions.newest().unwrap_or(0);
        let manifest = match self.read_manifest(key, newest).await {
            // That it cannot be read is among the findings.
            Err(LoadError::Malformed { .. } | LoadError::NewerFormat { .. }) => None,
            manifest => manifest?,
        };
        let Some(manifest) = manifest else {
            return Ok(Checked {
                manifest: None,
                is_intact: false,
                findings,
            });
        };
        let found = check_manifest(key, newest, &manifest, expected);
        let is_placed = !found
            .iter()
            .any(|one| one.fault == Fault::ManifestMisplaced);
        findings.extend(found);
        let mut is_intact = is_placed && revisions.is_published();
        let checks = manifest.files.iter().map(async |file| {
            let found = self.check_file(file, &manifest, revisions.is_published(), expected);
            let faults = found.await?.into_iter();
            Ok(faults.map(|(fault, message)| Finding {
                fault,
                partition: Some(key.clone()),
                path: Some(file.path.clone()),
                message,
            }))
        });
        for found in all(checks.collect()).await?.into_iter().flatten() {
            // The rows of one that only the manifest is wrong about can still be looked at.
            is_intact &= matches!(found.fault, Fault::WrongRows | Fault::WrongSchemaVersion);
            findings.push(found);
        }
        findings.extend(self.check_dead_letters(key, &manifest).await?);
        Ok(Checked {
            manifest: Some(manifest),
            is_intact,
            findings,
        })
    }

    /// Checks that revisions follow one another, with a manifest that can be read and a marker each.
    async fn check_revisions(
        &self,
        key: &PartitionKey,
        revisions: &Revisions,
    ) -> Result<Vec<Finding>, LoadError> {
        let mut findings = Vec::new();
        let mut find = |fault, path: Path, message: String| {
            findings.push(Finding {
                fault,
                partition: Some(key.clone()),
                path: Some(path.to_string()),
                message,
            });
        };
        let newest = revisions.newest().unwrap_or(0);
        let mut next = 1;
        for &revision in &revisions.manifests {
            // Said once for all of a gap, which may be of any width.
            if revision > next {
                let message = match revision - 1 {
                    last if last == next => format!("is not there, though revision {revision} is"),
                    last => format!(
                        "is not there, nor any up to revision {last}, though revision {revision} is"
                    ),
                };
                find(
                    Fault::ManifestMissing,
                    location::manifest(key, next),
                    message,
                );
            }
            next = revision.saturating_add(1);
            if revisions.has_marker(revision) {
                continue;
            }
            let path = location::published_marker(key, revision);
            if revision < newest {
                let message = format!("is not there, though revision {newest} is");
                find(Fault::MarkerMissing, path, message);
            } else {
                let message = format!(
                    "revision {revision} is committed, and its files are not all in place: a run was killed then, or \
                     is at it just now"
                );
                find(Fault::Unpublished, path, message);
            }
        }
        for &revision in revisions.markers.iter().filter(|marker| **marker > newest) {
            let message =
                "is not there, though it was published: an older revision is taken for the newest";
            find(
                Fault::ManifestMissing,
                location::manifest(key, revision),
                message.to_owned(),
            );
        }
        let paths = revisions.manifests.iter();
        let paths: Vec<_> = paths
            .map(|revision| location::manifest(key, *revision))
            .collect();
        let read = self.store.read_each(paths.clone(), |path, json| {
            Ok(Manifest::from_json(path, json).err())
        });
        for (path, error) in paths.into_iter().zip(read.await?) {
            if let Some(error) = error.flatten() {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let message = match cause {
                    Some(cause) => format!("is not as this program writes it: {cause}"),
                    None => error.to_string(),
                };
                find(Fault::ManifestUnreadable, path, message);
            }
        }
        Ok(findings)
    }

    /// Checks a file of a revision: where it should be, or while that is unpublished also where it was staged.
    async fn check_file(
        &self,
        file: &DataFile,
        manifest: &Manifest,
        is_published: bool,
        expected: &Expected,
    ) -> Result<Vec<(Fault, String)>, LoadError> {
        // A publisher moves it from the one place to the other, so the place it leaves is looked at first.
        if let (false, Some(staged)) = (is_published, file.staged_path()) {
            let staged = DataFile {
                path: staged.to_owned(),
                origin: Origin::CarriedOver,
                ..file.clone()
            };
            match self.check_bytes(&staged).await? {
                Some((Fault::FileMissing, _)) => {}
                Some(fault) => return Ok(vec![fault]),
                None => return self.check_footer(&staged, manifest, expected).await,
            }
        }
        match self.check_bytes(file).await? {
            Some(fault) => Ok(vec![fault]),
            None => self.check_footer(file, manifest, expected).await,
        }
    }

    /// Looks for the dead letters of a partition that the books count any of.
    async fn check_dead_letters(
        &self,
        key: &PartitionKey,
        manifest: &Manifest,
    ) -> Result<Option<Finding>, LoadError> {
        let counted = manifest.books.dead_letters;
        let folder = location::dead_letters(key);
        if counted == 0 || self.is_kept_or_forgotten(&folder).await? {
            return Ok(None);
        }
        Ok(Some(Finding {
            fault: Fault::DeadLettersMissing,
            partition: Some(key.clone()),
            path: Some(folder.to_string()),
            message: format!("the books count {counted} dead letters, and none is there"),
        }))
    }

    /// Looks for the strays of an app that the books of `strays` in its jobs count any of.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn check_strays(
        &self,
        app_id: &AppId,
        strays: u64,
    ) -> Result<Option<Finding>, LoadError> {
        let folder = location::app_strays(app_id);
        if strays == 0 || self.is_kept_or_forgotten(&folder).await? {
            return Ok(None);
        }
        Ok(Some(Finding {
            fault: Fault::StraysMissing,
            partition: None,
            path: Some(folder.to_string()),
            message: format!(
                "the books of the app's jobs count {strays} strays, and none is there"
            ),
        }))
    }

    /// Whether something is kept in a folder, or may have been, of somebody who is forgotten.
    async fn is_kept_or_forgotten(&self, folder: &Path) -> Result<bool, LoadError> {
        let is_kept = !self.store.list_paths(folder, None).await?.is_empty();
        Ok(is_kept || !self.tombstone_names().await?.is_empty())
    }
}

/// What of a manifest can be told wrong without a look at the files.
fn check_manifest(
    key: &PartitionKey,
    revision: u64,
    manifest: &Manifest,
    expected: &Expected,
) -> Vec<Finding> {
    let path = location::manifest(key, revision).to_string();
    let find = |fault, message: String| Finding {
        fault,
        partition: Some(key.clone()),
        path: Some(path.clone()),
        message,
    };
    let mut findings: Vec<_> = misplaced(key, revision, manifest)
        .into_iter()
        .map(|message| find(Fault::ManifestMisplaced, message))
        .collect();
    if manifest.schema_version > expected.pinned_version {
        let message = format!(
            "expected schema version {} at most, to which the lake is pinned, got {}",
            expected.pinned_version, manifest.schema_version
        );
        findings.push(find(Fault::WrongSchemaVersion, message));
    }
    let books = unbalanced_books(manifest).into_iter();
    findings.extend(books.map(|(fault, message)| find(fault, message)));
    findings
}

/// What a manifest says that cannot be true of its place.
fn misplaced(key: &PartitionKey, revision: u64, manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    if manifest.revision != revision {
        wrong.push(format!(
            "expected revision {revision}, got {}",
            manifest.revision
        ));
    }
    if manifest.partition != key.to_string() {
        wrong.push(format!(
            "expected partition `{key}`, got `{}`",
            manifest.partition
        ));
    }
    let mut seen = BTreeSet::new();
    for file in &manifest.files {
        let path = &file.path;
        let place = location::parse_data_file(&Path::from(path.as_str()));
        match place {
            Some(place) if place.table == file.table && place.key == *key => {
                if !file.sha256.starts_with(&place.hash) {
                    wrong.push(format!("`{path}` is listed with SHA-256 {}", file.sha256));
                }
            }
            _ => wrong.push(format!(
                "`{path}` is no place for a file of `{}` of this partition",
                file.table
            )),
        }
        if !seen.insert(path) {
            wrong.push(format!("`{path}` is listed twice"));
        }
    }
    wrong
}

/// The books of a manifest that do not balance, with their numbers.
pub(crate) fn unbalanced_books(manifest: &Manifest) -> Vec<(Fault, String)> {
    let mut unbalanced = Vec::new();
    let books = &manifest.books;
    if !books.balance() {
        let message = format!(
            "assigned {}: expected the sum of written {}, duplicates {} and dead letters {} ({} conflicts among them)",
            books.assigned, books.written, books.duplicates, books.dead_letters, books.conflicts
        );
        unbalanced.push((Fault::PartitionBooks, message));
    }
    let rows = manifest.rows();
    let of_records = [Table::Queries, Table::Feedback, Table::Events].map(|table| rows[table]);
    let records: u64 = of_records.iter().sum();
    if records != books.written {
        let message = format!(
            "written {}: expected the {records} rows of queries, feedback and events",
            books.written
        );
        unbalanced.push((Fault::PartitionBooks, message));
    }
    if let Some(stats) = &manifest.stats {
        let votes = stats.thumbs_up + stats.thumbs_down;
        for (table, counted) in [
            (Table::Queries, stats.queries),
            (Table::Feedback, votes),
            (Table::Chunks, stats.funnel.retrieved),
        ] {
            if counted != rows[table] {
                let message = format!(
                    "stats count {counted} of `{table}`: expected its {} rows",
                    rows[table]
                );
                unbalanced.push((Fault::PartitionBooks, message));
            }
        }
    }
    for job in manifest.jobs.iter().filter(|job| !job.balance()) {
        unbalanced.push((Fault::JobBooks, unbalanced_job(job)));
    }
    unbalanced
}

fn unbalanced_job(job: &JobBooks) -> String {
    let name = job.job_id.as_deref().unwrap_or("none");
    let promised = job
        .promised
        .map_or_else(|| "nothing".to_owned(), |promised| promised.to_string());
    format!(
        "job `{name}`: promised {promised}, decoded {}, of these margin {}, strays {}, unassigned {}, assigned {} ({} duplicates)",
        job.decoded, job.margin, job.strays, job.unassigned, job.assigned, job.duplicates
    )
}
