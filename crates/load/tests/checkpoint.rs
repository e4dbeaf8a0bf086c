//! Checkpoints save reads, and never change what is found.

use std::sync::Arc;

use answerlake_load::{Lake, LakeStore, LoadError, PartitionSummary};
use answerlake_model::{AppId, Grain, PartitionKey, Window};
use chrono::{DateTime, TimeDelta, Utc};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};

use crate::setup::paths;
use crate::watched_store::{Watched, WatchedStore};

const FIRST: &str = "2023-01-01T00:00:00Z";

/// Objects that S3 lists at once.
const PAGE: usize = 1000;

struct Far {
    store: Arc<WatchedStore>,
    /// As commands that only look see it.
    lake: Lake,
    /// As a run sees it.
    run: Lake,
}

fn app(number: usize) -> AppId {
    AppId::try_new(&format!("st-{number:02}")).unwrap()
}

fn key(app_number: usize, day: i64) -> PartitionKey {
    let first: DateTime<Utc> = FIRST.parse().unwrap();
    PartitionKey::new(app(app_number), first + TimeDelta::days(day), Grain::Day)
}

fn span(days: std::ops::Range<i64>) -> Window {
    Window::try_new(key(0, days.start).start(), key(0, days.end).start()).unwrap()
}

fn manifest(key: &PartitionKey, revision: u64, records: u64) -> Value {
    let path = format!("queries/{key}/part-00000-r{revision}-5f5f5f5f5f5f.parquet");
    json!({
        "format_version": 1, "partition": key.to_string(), "revision": revision, "commit_id": "c", "run_id": "run-1",
        "created_at": "2026-01-01T00:00:00Z", "program_version": "0.1.0", "schema_version": 1, "content_digest": "d",
        "provisional": false, "partial": false,
        "files": [{"table": "queries", "path": path, "rows": records, "bytes": 10_000, "sha256": "5f".repeat(32),
            "origin": {"staged": {"path": format!("_answerlake/staging/run-1/{key}/c/queries/x.parquet")}}}],
        "dropped": [], "books": {"assigned": records, "written": records, "duplicates": 0, "dead_letters": 0, "conflicts": 0},
        "jobs": [], "context": {},
    })
}

impl Far {
    async fn new(apps: usize, days: i64) -> Self {
        let store = Arc::new(WatchedStore::new(Arc::new(InMemory::new())));
        let watched: Arc<dyn ObjectStore> = Arc::new(Watched(Arc::clone(&store)));
        let lake = Lake::new(LakeStore::from_object_store("far://", watched));
        let far = Self {
            store,
            run: lake.clone().keeping_checkpoints(),
            lake,
        };
        for app in 0..apps {
            for day in 0..days {
                far.commit(&key(app, day), 1, 10).await;
            }
        }
        far.store.reset();
        far
    }

    async fn put(&self, path: &str, content: impl Into<object_store::PutPayload>) {
        let store = self.lake.store().object_store();
        store.put(&Path::from(path), content.into()).await.unwrap();
    }

    async fn commit(&self, key: &PartitionKey, revision: u64, records: u64) {
        let folder = format!("_answerlake/commits/{key}/{revision:08}");
        let json = manifest(key, revision, records).to_string();
        self.put(&format!("{folder}.json"), json).await;
        self.put(&format!("{folder}.published"), "").await;
    }

    async fn read(&self, path: &str) -> Vec<u8> {
        let store = self.lake.store().object_store();
        let found = store.get(&Path::from(path)).await.unwrap();
        found.bytes().await.unwrap().to_vec()
    }

    /// Looks through the days of the first app; gives the records, and the reads of manifests and of checkpoints.
    async fn look(&self, lake: &Lake, days: std::ops::Range<i64>) -> (u64, usize, usize) {
        self.store.reset();
        let states = lake.states(&app(0), &span(days.clone()), Grain::Day).await;
        let states = states.unwrap();
        assert_eq!(states.len() as i64, days.end - days.start);
        assert_eq!(self.store.count("list", ""), 1);
        (
            states.values().map(|state| state.records).sum(),
            self.store.count("get", "/commits/"),
            self.store.count("get", "/checkpoints/"),
        )
    }

    async fn checkpoints(&self) -> Vec<String> {
        paths(&self.lake, "_answerlake/checkpoints").await
    }
}

#[tokio::test]
async fn a_run_saves_the_next_ones_the_reads() {
    let far = Far::new(1, 500).await;
    // Who only looks writes nothing.
    assert_eq!(far.look(&far.lake, 0..500).await, (5000, 500, 2));
    assert_eq!(far.store.count("put", ""), 0);
    assert_eq!(far.look(&far.run, 0..500).await, (5000, 500, 2));
    assert_eq!(far.store.count("put", ""), 2);
    assert_eq!(
        far.checkpoints().await,
        [
            "_answerlake/checkpoints/app_id=st-00/2023.ndjson.zst",
            "_answerlake/checkpoints/app_id=st-00/2024.ndjson.zst",
        ]
    );
    for lake in [&far.lake, &far.run] {
        assert_eq!(far.look(lake, 0..500).await, (5000, 0, 2));
        assert_eq!(far.store.count("put", ""), 0);
    }
    // A few days are read as they are.
    assert_eq!(far.look(&far.run, 490..500).await, (100, 10, 0));

    // Only what is new is read: a few replaced, and a few more days.
    for day in 480..490 {
        far.commit(&key(0, day), 2, 11).await;
    }
    for day in 500..503 {
        far.commit(&key(0, day), 1, 10).await;
    }
    assert_eq!(far.look(&far.run, 0..503).await, (5040, 13, 2));
    assert_eq!(far.store.count("put", ""), 0, "not worth while yet");
    for day in 503..506 {
        far.commit(&key(0, day), 1, 10).await;
    }
    assert_eq!(far.look(&far.run, 0..506).await, (5070, 16, 2));
    assert_eq!(
        far.store.count("put", ""),
        1,
        "of the year that is not over"
    );
    assert_eq!(far.look(&far.lake, 0..506).await, (5070, 0, 2));
}

#[tokio::test]
async fn of_what_was_not_asked_for_nothing_is_lost() {
    let far = Far::new(1, 300).await;
    far.look(&far.run, 0..100).await;
    far.look(&far.run, 50..300).await;
    assert_eq!(far.look(&far.lake, 0..300).await, (3000, 0, 1));
}

#[tokio::test]
async fn drift_is_read_from_checkpoints_too() {
    let far = Far::new(2, 100).await;
    for expected in [200, 0] {
        far.store.reset();
        let heads = far.run.heads(None, None).await.unwrap();
        assert_eq!(far.run.drift(heads).await.unwrap().len(), 200);
        assert_eq!(far.store.count("get", "/commits/"), expected);
    }
}

/// What a checkpoint may be, and what must come of it.
#[tokio::test]
async fn a_wrong_checkpoint_changes_nothing() {
    const CHECKPOINT: &str = "_answerlake/checkpoints/app_id=st-00/2023.ndjson.zst";
    let far = Far::new(1, 100).await;
    far.look(&far.run, 0..100).await;
    let right = far.read(CHECKPOINT).await;
    let text = String::from_utf8(zstd::decode_all(&right[..]).unwrap()).unwrap();
    let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let mut flipped = right.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let (header, lines) = text.split_once('\n').unwrap();
    assert_eq!(header, r#"{"format_version":1}"#);
    assert_eq!(lines.lines().count(), 100);

    // Content of another length does not stand under the stamp of a manifest.
    let longer = packed(&text.replace("\"written\":10}", "\"written\":100}"));
    // Of every second one, the stamp is of another object.
    let of_others: String = text
        .lines()
        .enumerate()
        .map(|(number, line)| match number % 2 {
            1 => line.replacen("\"stamp\":\"", "\"stamp\":\"0", 1) + "\n",
            _ => line.to_owned() + "\n",
        })
        .collect();
    for (what, wrong, reads) in [
        ("cut short", right[..middle].to_vec(), 100),
        ("a bit", flipped, 100),
        ("nothing", Vec::new(), 100),
        ("no archive", b"{}".to_vec(), 100),
        ("no text", packed("\u{0}"), 100),
        ("no header", packed(lines), 100),
        ("half a line", packed(&text[..text.len() - 9]), 100),
        ("longer", longer, 100),
        ("of others", packed(&of_others), 50),
        ("a newer format", packed(&text.replacen('1', "2", 1)), 100),
        ("a bomb", packed(&" ".repeat(65 << 20)), 100),
    ] {
        far.put(CHECKPOINT, wrong.clone()).await;
        assert_eq!(
            far.look(&far.lake, 0..100).await,
            (1000, reads, 1),
            "{what}"
        );
        assert_eq!(far.look(&far.run, 0..100).await, (1000, reads, 1), "{what}");
        if what == "a newer format" {
            assert_eq!(far.read(CHECKPOINT).await, wrong, "it is a newer program's");
            continue;
        }
        let mended = far.look(&far.lake, 0..100).await;
        assert_eq!(mended, (1000, 0, 1), "{what}");
    }
}

#[tokio::test]
async fn what_the_listing_says_of_a_manifest_counts() {
    let far = Far::new(1, 100).await;
    far.look(&far.run, 0..100).await;
    // Somebody writes a manifest anew, of the same length.
    let path = format!("_answerlake/commits/{}/00000001.json", key(0, 7));
    let other = manifest(&key(0, 7), 1, 99).to_string();
    far.put(&path, other).await;
    assert_eq!(far.look(&far.lake, 0..100).await, (1089, 1, 1));
    // One that is gone is not found in a checkpoint either.
    let store = far.lake.store().object_store();
    let folder = format!("_answerlake/commits/{}", key(0, 8));
    for name in ["00000001.json", "00000001.published"] {
        store
            .delete(&Path::from(format!("{folder}/{name}")))
            .await
            .unwrap();
    }
    let states = far
        .lake
        .states(&app(0), &span(0..100), Grain::Day)
        .await
        .unwrap();
    assert!(!states.contains_key(&key(0, 8)));
    assert_eq!(states.len(), 99);
    // And one that is no manifest is an error, whatever a checkpoint says.
    far.put(&path, "[]").await;
    let error = far.lake.states(&app(0), &span(0..100), Grain::Day).await;
    assert!(
        matches!(error, Err(LoadError::Malformed { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_store_that_takes_no_checkpoint_is_read_all_the_same() {
    let inner = Far::new(1, 100).await;
    let mut faulty = crate::faulty_store::FaultyStore::new(inner.lake.store().object_store());
    faulty.operations_left = 102.into();
    let faulty: Arc<dyn ObjectStore> = Arc::new(faulty);
    let run = Lake::new(LakeStore::from_object_store("far://", faulty)).keeping_checkpoints();
    // One listing, one look for a checkpoint, a hundred reads: the write fails.
    let states = run
        .states(&app(0), &span(0..100), Grain::Day)
        .await
        .unwrap();
    let records: u64 = states
        .values()
        .map(|state: &PartitionSummary| state.records)
        .sum();
    assert_eq!(records, 1000);
    assert_eq!(inner.checkpoints().await, [""; 0]);
}

/// Counts what a store is asked for by who looks through `apps` of `days`.
#[expect(clippy::print_stdout, reason = "the arithmetic is worth seeing")]
async fn count_requests(apps: usize, days: i64) {
    let far = Far::new(apps, days).await;
    for app_number in 0..apps {
        far.run
            .states(&app(app_number), &span(0..days), Grain::Day)
            .await
            .unwrap();
    }
    let years = (days as usize).div_ceil(366);
    let pages = |objects: usize| objects.div_ceil(PAGE);
    for (what, expected) in [("cold", apps * days as usize), ("warm", 0)] {
        if what == "cold" {
            for path in far.checkpoints().await {
                let store = far.lake.store().object_store();
                store.delete(&Path::from(path)).await.unwrap();
            }
        }
        far.store.reset();
        let heads = far.lake.heads(None, None).await.unwrap();
        assert_eq!(far.store.count("list", ""), 1);
        let began = std::time::Instant::now();
        let summaries = far.lake.summaries(heads).await.unwrap();
        let took = began.elapsed();
        assert_eq!(summaries.len(), apps * days as usize);
        let (manifests, checkpoints) = (
            far.store.count("get", "/commits/"),
            far.store.count("get", "/checkpoints/"),
        );
        println!(
            "{apps} apps of {days} days, {what}: {} pages listed, {manifests} manifests and {checkpoints} checkpoints read, {took:.1?}",
            pages(2 * apps * days as usize),
        );
        assert_eq!(manifests, expected);
        assert!(checkpoints <= apps * (years + 1), "{checkpoints}");
        for app_number in 0..apps {
            far.run
                .states(&app(app_number), &span(0..days), Grain::Day)
                .await
                .unwrap();
        }
    }
    far.look(&far.run, days - 3..days).await;
    assert_eq!(far.store.log().len(), 4, "{:?}", far.store.log());
    println!("the last 3 days of an app: {:?}", far.store.log());
}

#[tokio::test]
async fn requests_are_few() {
    count_requests(3, 75).await;
}

#[tokio::test]
#[ignore = "44,000 objects"]
async fn requests_are_few_for_three_years_of_twenty_apps() {
    count_requests(20, 3 * 365).await;
}
