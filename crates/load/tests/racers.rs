//! Processes that commit the same partitions at once.
//!
//! Every row says which commit it is of. Whoever looks, at whatever moment, finds in a partition the rows of one commit,
//! all of them and once; and every commit that was told to be one is a revision.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use answerlake_load::{
    CommitOutcome, Lake, LakeAddress, LakeStore, LoadError, Proposal, StoreAccess, WriterConfig,
};
use answerlake_model::{PartitionKey, Table};
use arrow::array::{AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::setup::{batch, encode_to, key_of, proposal, s3_address, s3_server};
use crate::watch::{assert_whole, content};

const RACERS: u64 = 8;

/// What a racer is told.
const TOLD: &str = "ANSWERLAKE_TEST_RACER";

/// Where it says how it went.
const SAYS: &str = "racer: ";

fn partitions() -> [PartitionKey; 3] {
    ["2025-06-28", "2025-06-29", "2025-06-30"].map(|day| key_of(&format!("{day}T00:00:00Z")))
}

/// Rows that all say who wrote them.
fn signed(tag: &str, rows: i64) -> RecordBatch {
    let plain = batch(0..rows);
    let mut columns = plain.columns().to_vec();
    columns[2] = Arc::new(StringArray::from_iter_values((0..rows).map(|_| tag)));
    RecordBatch::try_new(plain.schema(), columns).unwrap()
}

/// A process of a race; the tests below start it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it is a part of the races"]
async fn racer() {
    let Ok(told) = std::env::var(TOLD) else {
        return;
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    let url = told["url"].as_str().unwrap();
    let variables = serde_json::from_value(told["variables"].clone()).unwrap();
    let address = LakeAddress::from(url).with_access(StoreAccess {
        variables: Some(variables),
        ..StoreAccess::default()
    });
    let lake = Lake::new(LakeStore::open(address).await.unwrap());
    let counted: &'static Counted = Box::leak(Box::default());
    tracing::subscriber::set_global_default(counted).unwrap();

    let number = told["number"].as_u64().unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(told["seed"].as_u64().unwrap() + number);
    let scratch = tempfile::tempdir().unwrap();
    let end = Instant::now() + Duration::from_millis(told["millis"].as_u64().unwrap());
    let mut committed: BTreeMap<String, i64> = BTreeMap::new();
    let mut busy = 0;
    for count in 0.. {
        if Instant::now() > end {
            break;
        }
        // Half of the commits go to one partition.
        let key = &partitions()[random.random_range(0_usize..4) % 3];
        let (tag, rows) = (
            format!("racer-{number}-{count}"),
            random.random_range(1..40),
        );
        let tables = [
            (Table::Queries, signed(&tag, rows)),
            (Table::Chunks, batch(0..3)),
        ];
        let proposed = || Proposal {
            key: key.clone(),
            files: encode_to(key, scratch.path(), WriterConfig::default(), &tables),
            content_digest: format!("{tag} of {rows}"),
            ..proposal(scratch.path(), &tag, rows)
        };
        loop {
            match lake.commit(proposed()).await {
                Ok(CommitOutcome::Committed { .. }) => break,
                Ok(other) => panic!("{other:?}"),
                Err(LoadError::Busy { .. }) => busy += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        committed.insert(format!("{tag} of {rows}"), rows);
    }
    let lost = counted.lost.load(Relaxed);
    println!(
        "{SAYS}{}",
        json!({"committed": committed, "lost": lost, "busy": busy})
    );
}

/// Counts how often another was faster.
#[derive(Debug, Default)]
struct Counted {
    lost: AtomicU64,
}

impl tracing::Subscriber for &'static Counted {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(
            &mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                if format!("{value:?}") == "another run was faster" {
                    self.lost.fetch_add(1, Relaxed);
                }
            },
        );
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The processes of a race; they end with it, however that ends.
struct Racers(Vec<Child>);

impl Drop for Racers {
    fn drop(&mut self) {
        for racer in &mut self.0 {
            let _ = racer.kill();
            let _ = racer.wait();
        }
    }
}

fn start(address: &LakeAddress, millis: u64, seed: u64) -> Racers {
    let program = std::env::current_exe().unwrap();
    let start = |number| {
        let told = json!({
            "url": &**address, "number": number, "millis": millis, "seed": seed,
            "variables": address.access().variables.clone().unwrap_or_default(),
        });
        Command::new(&program)
            .args(["racers::racer", "--exact", "--ignored", "--nocapture"])
            .env(TOLD, told.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    Racers((0..RACERS).map(start).collect())
}

/// Reads what a partition holds, if anyone may: the digest and the tags of its rows. `None` while a revision is being
/// published, or when it was replaced meanwhile.
async fn look(lake: &Lake, key: &PartitionKey) -> Option<(u64, String, Vec<String>)> {
    let state = lake.state(key).await.unwrap()?;
    if !state.published {
        return None;
    }
    let mut tags = Vec::new();
    let files = state.manifest.files.iter();
    for file in files.filter(|file| file.table == Table::Queries) {
        let store = lake.store().object_store();
        let bytes = match store.get(&Path::from(file.path.as_str())).await {
            Ok(found) => found.bytes().await.unwrap(),
            Err(error) => {
                let now = lake.state(key).await.unwrap().unwrap();
                assert!(now.revision > state.revision, "{error}");
                return None;
            }
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column_by_name("text").unwrap().as_string::<i32>();
            tags.extend(column.iter().map(|tag| tag.unwrap().to_owned()));
        }
    }
    Some((state.revision, state.manifest.content_digest, tags))
}

fn assert_is_one_commit(digest: &str, tags: &[String]) {
    let (tag, rows) = digest.split_once(" of ").unwrap();
    assert_eq!(tags.len().to_string(), rows, "{digest}");
    assert!(tags.iter().all(|found| found == tag), "{digest}: {tags:?}");
}

#[expect(clippy::print_stderr, reason = "numbers that are asked for")]
async fn race(place: &str, address: LakeAddress, length: Duration) {
    let seed: u64 = rand::rng().random();
    let lake = Lake::new(LakeStore::open(&address).await.unwrap());
    let mut racers = start(&address, length.as_millis() as u64, seed >> 1);
    let mut looks = 0;
    let is_running = |racers: &mut Racers| {
        let mut racers = racers.0.iter_mut();
        racers.any(|racer| racer.try_wait().unwrap().is_none())
    };
    while is_running(&mut racers) {
        for key in partitions() {
            if let Some((_, digest, tags)) = look(&lake, &key).await {
                assert_is_one_commit(&digest, &tags);
                looks += 1;
            }
        }
    }

    let mut committed: BTreeMap<String, i64> = BTreeMap::new();
    let (mut lost, mut busy) = (0, 0);
    for racer in std::mem::take(&mut racers.0) {
        let output = racer.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = text.lines().find_map(|line| Some(line.split_once(SAYS)?.1));
        let said = said.unwrap_or_else(|| {
            panic!(
                "seed {seed}: {text}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        let said: Value = serde_json::from_str(said).unwrap();
        committed
            .extend(serde_json::from_value::<BTreeMap<_, _>>(said["committed"].clone()).unwrap());
        lost += said["lost"].as_u64().unwrap();
        busy += said["busy"].as_u64().unwrap();
    }
    let store = lake.store().object_store();
    let revisions = check_at_rest(&lake, &*store, &committed).await;
    eprintln!(
        "{place}: {RACERS} processes made {} commits ({revisions} revisions), lost {lost} races for one, gave up {busy} \
         times and tried again; looked at {looks} times; seed {seed}",
        committed.len()
    );
    assert!(
        committed.len() >= RACERS as usize && looks > 0,
        "there was no race"
    );
    assert!(lost > 0, "nobody met another");
}

/// Checks that each commit is one revision, no other is there, and each partition holds its newest one; their number.
async fn check_at_rest(
    lake: &Lake,
    store: &dyn ObjectStore,
    committed: &BTreeMap<String, i64>,
) -> usize {
    let mut digests = BTreeSet::new();
    for key in partitions() {
        let (newest, digest, tags) = look(lake, &key).await.unwrap();
        assert_is_one_commit(&digest, &tags);
        for revision in 1..=newest {
            let path = format!("_answerlake/commits/{key}/{revision:08}.json");
            let json = store.get(&Path::from(path)).await.unwrap().bytes().await;
            let manifest: Value = serde_json::from_slice(&json.unwrap()).unwrap();
            let digest = manifest["content_digest"].as_str().unwrap().to_owned();
            assert!(digests.insert(digest.clone()), "{digest} is there twice");
        }
    }
    let expected: BTreeSet<String> = committed.keys().cloned().collect();
    assert_eq!(digests, expected);
    assert_whole(store).await.unwrap();
    content(store).await;
    digests.len()
}

async fn race_on_disk(length: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().join("lake");
    race("on disk", address.to_str().unwrap().into(), length).await;
}

async fn race_on_s3(length: Duration) {
    if let Some(server) = s3_server() {
        race("on S3", s3_address(server, "race"), length).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_race_on_disk_win_one_revision_each() {
    race_on_disk(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_race_on_s3_win_one_revision_each() {
    race_on_s3(Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute, run by `make long`"]
async fn processes_race_for_a_minute_on_disk() {
    race_on_disk(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute, run by `make long`"]
async fn processes_race_for_a_minute_on_s3() {
    race_on_s3(Duration::from_secs(60)).await;
}
