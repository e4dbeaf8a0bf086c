//! What killed runs left in staging is cleared by its age, and nothing else is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use answerlake_load::staging::STAGING_MAX_AGE;
use answerlake_load::{ClearedStaging, CommitOutcome, Lake, LakeStore, LoadError};
use chrono::{DateTime, TimeDelta, Utc};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::faulty_store::FaultyStore;
use crate::setup::{check_consistent, local, memory, paths, proposal};

const LEFT: &str =
    "_answerlake/staging/run-0/app_id=st-1/dt=2025-06-28/c/queries/part-00000-r1-ab.parquet";

async fn put(lake: &Lake, path: &str) {
    let store = lake.store().object_store();
    store.put(&Path::from(path), "left".into()).await.unwrap();
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_young_stays() {
    for test in [memory().await, local().await] {
        assert_eq!(
            test.lake.clear_staging(STAGING_MAX_AGE).await.unwrap(),
            ClearedStaging::default()
        );
        put(&test.lake, LEFT).await;
        // Of a program that lays it out in another way.
        put(&test.lake, "_answerlake/staging/run-0/another").await;
        // Of one that was killed while it read the clock.
        put(&test.lake, "_answerlake/staging/clock-0").await;
        let young = test.lake.clear_staging(STAGING_MAX_AGE).await.unwrap();
        assert_eq!((young.files, young.kept), (0, 3));
        let old = test.lake.clear_staging(Duration::ZERO).await.unwrap();
        assert_eq!(
            old,
            ClearedStaging {
                files: 2,
                bytes: 8,
                kept: 1
            }
        );
        assert_eq!(
            paths(&test.lake, "_answerlake").await,
            ["_answerlake/staging/run-0/another"]
        );
    }
}

#[tokio::test]
async fn what_an_unpublished_revision_names_stays_however_old() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let lake = |store| Lake::new(LakeStore::from_object_store("test://", store));
    let healthy = lake(Arc::clone(&disk));
    let mut faulty = FaultyStore::new(disk);
    faulty.dies_after_create = true;
    let faulty = lake(Arc::new(faulty));
    faulty
        .commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap_err();
    put(&healthy, LEFT).await;

    let cleared = healthy.clear_staging(Duration::ZERO).await.unwrap();
    assert_eq!((cleared.files, cleared.kept), (1, 2), "{cleared:?}");
    assert_eq!(healthy.recover(None).await.unwrap().len(), 1);
    assert_eq!(check_consistent(&healthy).await, 1);
}

#[tokio::test]
async fn on_a_disk_folders_go_with_what_was_in_them() {
    let test = local().await;
    let root = test.scratch.path().join("lake");
    let staging = root.join("_answerlake/staging");
    let age = |path: &std::path::Path, hours: u64| {
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(then).unwrap();
    };
    put(&test.lake, LEFT).await;
    age(&root.join(LEFT), 49);
    // An upload that was cut off: the store does not list it.
    let cut = staging.join("run-1/app_id=st-1");
    std::fs::create_dir_all(&cut).unwrap();
    std::fs::write(cut.join("x.parquet#1"), "cut").unwrap();
    age(&cut.join("x.parquet#1"), 49);
    age(&cut, 49);
    // A run that has just made its folder.
    std::fs::create_dir_all(staging.join("run-2")).unwrap();

    let cleared = test.lake.clear_staging(STAGING_MAX_AGE).await.unwrap();
    assert_eq!((cleared.files, cleared.kept), (1, 0));
    let folders = || {
        let entries = std::fs::read_dir(&staging).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(folders(), ["run-1", "run-2"], "they were used just now");
    assert!(!cut.exists());
    for run in ["run-1", "run-2"] {
        age(&staging.join(run), 49);
    }
    test.lake.clear_staging(STAGING_MAX_AGE).await.unwrap();
    assert!(!staging.exists());
}

/// Hours that the clock of a test goes on each time it is looked at.
static STRIDE: AtomicI64 = AtomicI64::new(0);
static HOURS: AtomicI64 = AtomicI64::new(0);

fn striding() -> DateTime<Utc> {
    let hours = HOURS.fetch_add(STRIDE.load(SeqCst), SeqCst);
    DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
}

#[tokio::test]
async fn what_grew_old_before_its_commit_is_staged_again() {
    let test = local().await;
    let lake = test.lake.clone().with_clock(striding);
    let scratch = test.scratch.path();
    STRIDE.store(13, SeqCst);
    let error = lake
        .commit(proposal(scratch, "run-1", 5))
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::StagingTooSlow { tries: 3, .. }));
    assert_eq!(
        error.to_string(),
        "partition `app_id=st-1/dt=2025-06-28`: staging its files took more than 12 h, 3 times"
    );
    assert_eq!(
        HOURS.load(SeqCst),
        6 * 13,
        "it was looked at before and after"
    );
    assert!(error.is_retryable());
    assert_eq!(test.lake.state(&crate::setup::key()).await.unwrap(), None);

    STRIDE.store(11, SeqCst);
    let outcome = lake.commit(proposal(scratch, "run-2", 5)).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }));
    test.lake.clear_staging(Duration::ZERO).await.unwrap();
    assert_eq!(check_consistent(&test.lake).await, 1);
}
