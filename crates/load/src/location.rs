//! Where everything of a lake lies. No other module puts a path together.
//!
//! Pure functions; all paths are relative to the lake. Identifiers hold no character that a store would escape, so
//! hive folders stand as readers expect them.

use std::collections::BTreeSet;

use answerlake_model::{AppId, ConsumerName, JobId, PartitionKey, RunId, Table, Window};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use uuid::Uuid;

/// The folder that holds all but the data; readers of the Spark family skip it by its first character.
const OURS: &str = "_answerlake";

/// The folder that holds all but the data.
pub fn ours() -> Path {
    Path::from(OURS)
}

/// A data file's name: never used again for other bytes, since it holds the revision and a hash of the content.
pub fn data_file_name(part: u32, revision: u64, sha256: &str) -> String {
    let hash = sha256.get(..12).unwrap_or(sha256);
    format!("part-{part:05}-r{revision}-{hash}.parquet")
}

/// A data file's final place.
pub fn data_file(table: Table, key: &PartitionKey, name: &str) -> Path {
    Path::from(format!("{table}/{key}/{name}"))
}

/// What a data file's path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFileLocation {
    /// Its table.
    pub table: Table,
    /// Its partition.
    pub key: PartitionKey,
    /// Its number among the table's files of the revision.
    pub part: u32,
    /// The revision that wrote it.
    pub revision: u64,
    /// The first 12 hex digits of its SHA-256.
    pub hash: String,
}

/// Reads a data file's path; `None` for anything else.
pub fn parse_data_file(path: &Path) -> Option<DataFileLocation> {
    let (table, rest) = path.as_ref().split_once('/')?;
    let (key, name) = rest.rsplit_once('/')?;
    let stem = name.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let (part, rest) = stem.split_once("-r")?;
    let (revision, hash) = rest.split_once('-')?;
    let location = DataFileLocation {
        table: Table::from_name(table)?,
        key: PartitionKey::parse(key)?,
        part: part.parse().ok()?,
        revision: revision.parse().ok()?,
        hash: hash.to_owned(),
    };
    let canonical = data_file_name(location.part, location.revision, hash);
    (canonical == name).then_some(location)
}

/// The folder of a table's data.
pub fn data(table: Table) -> Path {
    Path::from(table.name())
}

/// The folder of an app's data in a table.
pub fn app_data(table: Table, app_id: &AppId) -> Path {
    Path::from(format!("{table}/app_id={app_id}"))
}

/// The partition in whose folder of data something lies directly, whatever it is; `None` for anything else.
pub fn parse_data_folder(path: &Path) -> Option<PartitionKey> {
    let (table, rest) = path.as_ref().split_once('/')?;
    Table::from_name(table)?;
    PartitionKey::parse(rest.rsplit_once('/')?.0)
}

/// The folder of all commits.
pub fn commits() -> Path {
    Path::from(format!("{OURS}/commits"))
}

/// The folder of an app's commits.
pub fn app_commits(app_id: &AppId) -> Path {
    Path::from(format!("{OURS}/commits/app_id={app_id}"))
}

/// The folder of a day's commits: all that belong to later days sort after it, with either grain.
pub fn day_commits(key: &PartitionKey) -> Path {
    Path::from(format!("{OURS}/commits/{}", day(key)))
}

/// The folder of a partition's commits.
pub fn partition_commits(key: &PartitionKey) -> Path {
    Path::from(format!("{OURS}/commits/{key}"))
}

/// The manifest of a revision.
pub fn manifest(key: &PartitionKey, revision: u64) -> Path {
    Path::from(format!("{OURS}/commits/{key}/{revision:08}.json"))
}

/// The marker that a revision's files are in place.
pub fn published_marker(key: &PartitionKey, revision: u64) -> Path {
    Path::from(format!("{OURS}/commits/{key}/{revision:08}.published"))
}

/// The object that sums up the manifests of an app and a span of time, such as `2025`.
pub fn checkpoint(app_id: &AppId, span: &str) -> Path {
    Path::from(format!(
        "{OURS}/checkpoints/app_id={app_id}/{span}.ndjson.zst"
    ))
}

/// An object below [`commits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitObject {
    /// A revision's manifest.
    Manifest(PartitionKey, u64),
    /// A revision's marker.
    Marker(PartitionKey, u64),
}

/// Reads the path of a manifest or a marker; `None` for anything else.
pub fn parse_commit_object(path: &Path) -> Option<CommitObject> {
    let rest = path
        .as_ref()
        .strip_prefix(OURS)?
        .strip_prefix("/commits/")?;
    let (key, name) = rest.rsplit_once('/')?;
    let key = PartitionKey::parse(key)?;
    let (stem, extension) = name.split_once('.')?;
    let revision = stem.parse().ok()?;
    let object = match extension {
        "json" => CommitObject::Manifest(key, revision),
        "published" => CommitObject::Marker(key, revision),
        _ => return None,
    };
    (format!("{revision:08}") == stem).then_some(object)
}

/// The folder of the lake's pins.
pub fn lake_pins() -> Path {
    Path::from(format!("{OURS}/lake"))
}

/// A revision of the lake's pin.
pub fn lake_pin(revision: u64) -> Path {
    Path::from(format!("{OURS}/lake/{revision:08}.json"))
}

/// What is created twice to see whether the store lets that happen; no pin.
pub fn probe(id: &Uuid) -> Path {
    Path::from(format!("{OURS}/lake/probe-{id}"))
}

/// Reads the path of a pin; `None` for anything else.
pub fn parse_lake_pin(path: &Path) -> Option<u64> {
    let stem = path.filename()?.strip_suffix(".json")?;
    let revision = stem.parse().ok()?;
    (lake_pin(revision) == *path).then_some(revision)
}

/// The folder of what a consumer acknowledged.
pub fn consumer(name: &ConsumerName) -> Path {
    Path::from(format!("{OURS}/consumers/{name}"))
}

/// What a consumer acknowledged, by its number.
pub fn acknowledgement(name: &ConsumerName, number: u64) -> Path {
    consumer(name).join(format!("{number:08}.json"))
}

/// Reads the path of an acknowledgement; `None` for anything else.
pub fn parse_acknowledgement(name: &ConsumerName, path: &Path) -> Option<u64> {
    let number = path.filename()?.strip_suffix(".json")?.parse().ok()?;
    (acknowledgement(name, number) == *path).then_some(number)
}

/// The folder of the jobs in flight of all apps.
pub fn all_jobs() -> Path {
    Path::from(format!("{OURS}/jobs"))
}

/// The folder of an app's jobs in flight.
pub fn jobs(app_id: &AppId) -> Path {
    Path::from(format!("{OURS}/jobs/app_id={app_id}"))
}

/// The record of a job in flight.
pub fn job(app_id: &AppId, id: &str) -> Path {
    jobs(app_id).join(format!("{id}.json"))
}

/// The folder of an app's fragments as they were fetched.
pub fn raw(app_id: &AppId) -> Path {
    Path::from(format!("{OURS}/raw/app_id={app_id}"))
}

/// The folder of what a job brought, as it was fetched: its window is the one that was wanted, without the margin.
pub fn landing(app_id: &AppId, window: Window, job_id: &JobId) -> Path {
    let time = |time: DateTime<Utc>| time.format("%Y%m%dT%H%M%SZ");
    let (start, end) = (time(window.start()), time(window.end()));
    raw(app_id)
        .join(format!("window={start}_{end}"))
        .join(format!("job={job_id}"))
}

/// The name of a fragment as it was fetched.
pub fn landed_fragment_name(position: usize) -> String {
    format!("fragment-{position:05}.json.zst")
}

/// The name of the manifest of a landing: what is in it, once it is whole.
pub const LANDING_MANIFEST: &str = "landing.json";

/// The folder in which something lies that a job brought, as it was fetched; `None` for anything else.
pub fn parse_landed(path: &Path) -> Option<Path> {
    let (folder, _) = path.as_ref().rsplit_once('/')?;
    let mut names = folder.rsplit('/');
    let is_landing = names.next()?.starts_with("job=") && names.next()?.starts_with("window=");
    is_landing.then(|| Path::from(folder))
}

/// Where a run's files wait for the commit of `commit_id`.
pub fn staging(run_id: &RunId, key: &PartitionKey, commit_id: &str) -> Path {
    Path::from(format!("{OURS}/staging/{run_id}/{key}/{commit_id}"))
}

/// A file that waits for its commit.
pub fn staged_file(staging: &Path, table: Table, name: &str) -> Path {
    staging.clone().join(table.name()).join(name)
}

/// The folder of everything that waits for a commit.
pub fn all_staging() -> Path {
    Path::from(format!("{OURS}/staging"))
}

/// The partition that a staged file is to be committed to; `None` for anything else.
pub fn parse_staged_file(path: &Path) -> Option<PartitionKey> {
    let rest = path
        .as_ref()
        .strip_prefix(OURS)?
        .strip_prefix("/staging/")?;
    let (_run, rest) = rest.split_once('/')?;
    // Behind the partition stand the commit, the table and the name.
    let key = rest.rsplitn(4, '/').nth(3)?;
    PartitionKey::parse(key)
}

/// An object that is written only to read the store's clock off it. It lies where it is cleared if it is left.
pub fn clock(id: &str) -> Path {
    Path::from(format!("{OURS}/staging/clock-{id}"))
}

/// Whether an object is there only for its time.
pub fn is_clock(path: &Path) -> bool {
    path.as_ref()
        .strip_prefix(OURS)
        .and_then(|path| path.strip_prefix("/staging/clock-"))
        .is_some_and(|id| !id.contains('/'))
}

/// The folder of what is known of partitions that failed: of one app, or of all.
pub fn failures(app_id: Option<&AppId>) -> Path {
    let folder = format!("{OURS}/failures");
    app_id.map_or_else(
        || Path::from(folder.as_str()),
        |app_id| Path::from(format!("{folder}/app_id={app_id}")),
    )
}

/// Why a partition failed when it was last tried.
pub fn failure(key: &PartitionKey) -> Path {
    Path::from(format!("{OURS}/failures/{key}.json"))
}

/// Reads the path of a failure; `None` for anything else.
pub fn parse_failure(path: &Path) -> Option<PartitionKey> {
    let rest = path
        .as_ref()
        .strip_prefix(OURS)?
        .strip_prefix("/failures/")?;
    PartitionKey::parse(rest.strip_suffix(".json")?)
}

/// The folder of an app's strays.
pub fn app_strays(app_id: &AppId) -> Path {
    Path::from(format!("{OURS}/strays/app_id={app_id}"))
}

/// The folder of a partition's strays.
pub fn strays(key: &PartitionKey) -> Path {
    Path::from(format!("{OURS}/strays/{key}"))
}

/// Reads the path of a file of strays; `None` for anything else.
pub fn parse_strays(path: &Path) -> Option<(PartitionKey, String)> {
    let rest = path.as_ref().strip_prefix(OURS)?.strip_prefix("/strays/")?;
    let (key, name) = rest.rsplit_once('/')?;
    let is_whole = name.ends_with(STRAYS_ENDING);
    Some((PartitionKey::parse(key)?, name.to_owned())).filter(|_| is_whole)
}

/// How the name of a file of strays ends.
const STRAYS_ENDING: &str = ".ndjson.zst";

/// The folder of the dead letters of a partition's day.
pub fn dead_letters(key: &PartitionKey) -> Path {
    Path::from(format!("{OURS}/dead_letters/{}", day(key)))
}

/// The folder of all strays.
pub fn all_strays() -> Path {
    Path::from(format!("{OURS}/strays"))
}

/// The folder of all dead letters.
pub fn all_dead_letters() -> Path {
    Path::from(format!("{OURS}/dead_letters"))
}

/// The folder of all fragments that are kept as they were fetched.
pub fn all_raw() -> Path {
    Path::from(format!("{OURS}/raw"))
}

/// The folder of all checkpoints.
pub fn checkpoints() -> Path {
    Path::from(format!("{OURS}/checkpoints"))
}

/// The key that ids of who is forgotten are hashed under.
pub fn forgotten_key() -> Path {
    Path::from(format!("{OURS}/forgotten/key.json"))
}

/// The folder of what tells who is forgotten.
pub fn tombstones() -> Path {
    Path::from(format!("{OURS}/forgotten/tombstones"))
}

/// Some of those who are forgotten.
pub fn tombstone(name: &str) -> Path {
    tombstones().join(format!("{name}.json"))
}

/// What was removed, by whom.
pub fn receipt(run_id: &RunId) -> Path {
    Path::from(format!("{OURS}/forgotten/receipts/{run_id}.json"))
}

/// The folders that hold `files`, up to the lake's own: each once, the deepest first.
pub(crate) fn folders_of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Vec<Path> {
    let mut folders = BTreeSet::new();
    for file in files {
        let mut folder = file.parent();
        while let Some(path) = folder.filter(|path| !path.is_root()) {
            folder = path.parent();
            folders.insert(path);
        }
    }
    let mut deepest_first: Vec<_> = folders.into_iter().collect();
    deepest_first.sort_by_key(|path| std::cmp::Reverse(path.parts_count()));
    deepest_first
}

fn day(key: &PartitionKey) -> String {
    format!(
        "app_id={}/dt={}",
        key.app_id(),
        key.start().format("%Y-%m-%d")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use answerlake_model::Grain;
    use chrono::DateTime;
    use proptest::prelude::*;

    fn key(seconds: i64, hour: bool) -> PartitionKey {
        let grain = if hour { Grain::Hour } else { Grain::Day };
        let time = DateTime::from_timestamp(seconds, 0).unwrap();
        PartitionKey::new(AppId::try_new("st-1.a_B").unwrap(), time, grain)
    }

    #[test]
    fn paths_are_as_the_design_draws_them() {
        let key = key(1_751_080_000, true);
        assert_eq!(
            data_file(
                Table::LlmCalls,
                &key,
                &data_file_name(0, 1, "3f9a2c51d07e99")
            )
            .as_ref(),
            "llm_calls/app_id=st-1.a_B/dt=2025-06-28/hour=3/part-00000-r1-3f9a2c51d07e.parquet"
        );
        assert_eq!(
            manifest(&key, 1).as_ref(),
            "_answerlake/commits/app_id=st-1.a_B/dt=2025-06-28/hour=3/00000001.json"
        );
        assert_eq!(
            published_marker(&key, 12).as_ref(),
            "_answerlake/commits/app_id=st-1.a_B/dt=2025-06-28/hour=3/00000012.published"
        );
        assert_eq!(lake_pin(1).as_ref(), "_answerlake/lake/00000001.json");
        assert_eq!(
            strays(&key).as_ref(),
            "_answerlake/strays/app_id=st-1.a_B/dt=2025-06-28/hour=3"
        );
        assert_eq!(
            job(key.app_id(), "fj-7").as_ref(),
            "_answerlake/jobs/app_id=st-1.a_B/fj-7.json"
        );
        let staging = staging(&RunId::try_new("r-1").unwrap(), &key, "c");
        assert_eq!(
            staged_file(&staging, Table::Queries, "x.parquet").as_ref(),
            "_answerlake/staging/r-1/app_id=st-1.a_B/dt=2025-06-28/hour=3/c/queries/x.parquet"
        );
        assert_eq!(
            failure(&key).as_ref(),
            "_answerlake/failures/app_id=st-1.a_B/dt=2025-06-28/hour=3.json"
        );
        assert_eq!(
            tombstone("ab").as_ref(),
            "_answerlake/forgotten/tombstones/ab.json"
        );
    }

    #[test]
    fn other_names_are_not_ours() {
        for bad in [
            "queries/app_id=a/dt=2025-06-28/part-0-r1-ab.parquet",
            "queries/app_id=a/dt=2025-06-28/part-00000-r01-ab.parquet",
            "queries/app_id=a/dt=2025-06-28/x.parquet",
            "nothing/app_id=a/dt=2025-06-28/part-00000-r1-ab.parquet",
            "queries/app_id=a/part-00000-r1-ab.parquet",
        ] {
            assert_eq!(parse_data_file(&Path::from(bad)), None, "{bad}");
        }
        for bad in [
            "_answerlake/commits/app_id=a/dt=2025-06-28/1.json",
            "_answerlake/commits/app_id=a/dt=2025-06-28/00000001.json.tmp",
            "_answerlake/commits/app_id=a/00000001.json",
        ] {
            assert_eq!(parse_commit_object(&Path::from(bad)), None, "{bad}");
        }
        for bad in [
            "_answerlake/staging/r/app_id=a/dt=2025-06-28/queries/x.parquet",
            "_answerlake/staging/x.parquet",
            "_answerlake/failures/app_id=a.json",
        ] {
            let path = Path::from(bad);
            assert_eq!(
                (parse_staged_file(&path), parse_failure(&path)),
                (None, None),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn data_files_round_trip(seconds in 0_i64..4_000_000_000, hour: bool, part: u32, revision: u64, hash in "[0-9a-f]{64}", table in 0_usize..6) {
            let (key, table) = (key(seconds, hour), Table::ALL[table]);
            let path = data_file(table, &key, &data_file_name(part, revision, &hash));
            prop_assert_eq!(Path::parse(path.as_ref()).unwrap(), path.clone());
            let hash = hash[..12].to_owned();
            prop_assert_eq!(parse_data_folder(&path), Some(key.clone()));
            prop_assert!(path.prefix_matches(&app_data(table, key.app_id())));
            prop_assert_eq!(parse_data_file(&path), Some(DataFileLocation { table, key, part, revision, hash }));
        }

        #[test]
        fn commit_objects_round_trip_and_sort(seconds in 0_i64..4_000_000_000, hour: bool, revision in 0_u64..99_999_999) {
            let key = key(seconds, hour);
            let path = manifest(&key, revision);
            prop_assert!(day_commits(&key) < path);
            prop_assert!(path < manifest(&key, revision + 1));
            prop_assert_eq!(parse_commit_object(&path), Some(CommitObject::Manifest(key.clone(), revision)));
            prop_assert_eq!(parse_failure(&failure(&key)), Some(key.clone()));
            let name = "x.ndjson.zst".to_owned();
            prop_assert_eq!(parse_strays(&strays(&key).join(name.as_str())), Some((key.clone(), name)));
            prop_assert_eq!(parse_strays(&strays(&key).join("x.ndjson.zst#1")), None);
            let staged = staged_file(&staging(&RunId::try_new("r-1").unwrap(), &key, "c"), Table::Queries, "x.parquet");
            prop_assert_eq!(parse_staged_file(&staged), Some(key.clone()));
            let marker = published_marker(&key, revision);
            prop_assert_eq!(parse_commit_object(&marker), Some(CommitObject::Marker(key, revision)));
            prop_assert_eq!(parse_lake_pin(&lake_pin(revision)), Some(revision));
        }
    }
}
