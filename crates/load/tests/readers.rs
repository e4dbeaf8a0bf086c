//! What readers are given to read, whatever the committer is at.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use answerlake_load::{CurrentFiles, Lake, LakeStore, Proposal};
use answerlake_model::PartitionBooks;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::faulty_store::FaultyStore;
use crate::setup::{key, memory, paths, proposal};

fn lake(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::new(LakeStore::from_object_store("test://", store))
}

async fn current(lake: &Lake) -> CurrentFiles {
    let heads = lake.heads(None, None).await.unwrap();
    let mut current = lake
        .current_files(heads.into_iter().collect())
        .await
        .unwrap();
    assert_eq!(current.len(), 1);
    current.remove(0)
}

/// The revision that is given to readers; all its files must be there.
async fn readable(lake: &Lake) -> Option<u64> {
    let readable = current(lake).await.readable?;
    for file in &readable.files {
        let path = object_store::path::Path::from(file.path.as_str());
        let found = lake.store().object_store().head(&path).await.unwrap();
        assert_eq!(found.size, file.bytes, "{}", file.path);
    }
    Some(readable.revision)
}

fn emptied(scratch: &std::path::Path) -> Proposal {
    Proposal {
        files: Vec::new(),
        content_digest: "empty".to_owned(),
        books: PartitionBooks::default(),
        ..proposal(scratch, "run-2", 1)
    }
}

#[tokio::test(start_paused = true)]
async fn one_revision_is_whole_wherever_a_committer_dies() {
    let scratch = tempfile::tempdir().unwrap();
    for (to_empty, before) in [(false, 0), (false, 1), (true, 1)] {
        let mut seen = Vec::new();
        for operations in 0.. {
            let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let healthy = lake(Arc::clone(&disk));
            for _ in 0..before {
                let first = proposal(scratch.path(), "run-1", 5);
                healthy.commit(first).await.unwrap();
            }
            let faulty = FaultyStore::new(disk);
            faulty.operations_left.store(operations, SeqCst);
            let next = match to_empty {
                true => emptied(scratch.path()),
                false => proposal(scratch.path(), "run-2", 6),
            };
            let result = lake(Arc::new(faulty)).commit(next).await;
            let is_known = !paths(&healthy, "_answerlake/commits").await.is_empty();
            let revision = if is_known {
                readable(&healthy).await
            } else {
                None
            };
            if result.is_ok() {
                assert_eq!(revision, Some(before + 1));
                break;
            }
            seen.push(revision);
        }
        // First what was there, then what came; never neither, never back.
        let old = (before > 0).then_some(before);
        let new = Some(before + 1);
        let switched = seen.iter().position(|revision| *revision == new);
        let switched = switched.expect("a crash between the last file and the marker");
        assert!(seen[..switched].iter().all(|revision| *revision == old));
        assert!(seen[switched..].iter().all(|revision| *revision == new));
    }
}

#[tokio::test]
async fn lost_files_are_no_list() {
    let test = memory().await;
    let first = proposal(test.scratch.path(), "run-1", 5);
    test.lake.commit(first).await.unwrap();
    let store = test.lake.store().object_store();
    let file = current(&test.lake).await.readable.unwrap().files.remove(0);
    let span = file.created_at.unwrap();
    assert_eq!(span.first.timestamp_micros(), 1_751_068_800_000_000);
    let rows = file.rows as i64;
    assert_eq!((span.last - span.first).num_microseconds(), Some(rows - 1));
    // Without its marker, its files are looked for.
    let markers = paths(&test.lake, "_answerlake/commits").await;
    let marker = markers.iter().find(|path| path.ends_with(".published"));
    store
        .delete(&marker.unwrap().as_str().into())
        .await
        .unwrap();
    assert_eq!(readable(&test.lake).await, Some(1));
    store.delete(&file.path.into()).await.unwrap();
    let lost = current(&test.lake).await;
    assert_eq!((lost.key, lost.newest, lost.readable), (key(), 1, None));
}
