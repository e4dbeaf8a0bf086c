//! What crashes and a store's lies leave, and that the next run mends it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use answerlake_load::{
    CommitOutcome, Lake, LakeStore, LoadError, OnCommitted, Proposal, Recovered,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faulty_store::FaultyStore;
use crate::setup::{check_consistent, key, local, paths, proposal};

fn lake(store: Arc<dyn ObjectStore>) -> Lake {
    Lake::new(LakeStore::from_object_store("test://", store))
}

#[tokio::test(start_paused = true)]
async fn a_create_that_only_seems_to_fail_is_ours() {
    let scratch = tempfile::tempdir().unwrap();
    let faulty = FaultyStore::new(Arc::new(InMemory::new()));
    faulty.silent_creates.store(1, SeqCst);
    let lake = lake(Arc::new(faulty));
    let outcome = lake
        .commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Committed { revision: 1, .. }
    ));
    assert_eq!(check_consistent(&lake).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_did_not_take_place_is_repeated_and_then_given_up() {
    let scratch = tempfile::tempdir().unwrap();
    let faulty = Arc::new(FaultyStore::new(Arc::new(InMemory::new())));
    faulty.lost_creates.store(2, SeqCst);
    let lake = lake(Arc::clone(&faulty) as _);
    lake.commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap();

    faulty.lost_creates.store(i64::MAX, SeqCst);
    let error = lake
        .commit(proposal(scratch.path(), "run-2", 6))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "revision 2 of partition `app_id=st-1/dt=2025-06-28`: it is unknown after 5 tries whether it was committed"
    );
    assert!(error.is_retryable());
    assert!(
        !paths(&lake, "_answerlake/staging").await.is_empty(),
        "it may have been committed"
    );
}

/// Also where the store fails under a reader of Parquet.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_any_operation_of_a_replacement_may_be_tried_again() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    lake(Arc::clone(&disk))
        .commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap();
    let mut failed = 0;
    loop {
        let mut faulty = FaultyStore::new(Arc::clone(&disk));
        faulty.operations_left.store(failed, SeqCst);
        faulty.fails_once = true;
        // It lacks a record, so nothing is ever committed, and each try begins alike.
        let fewer = Proposal {
            on_committed: OnCommitted::ReplaceUnlessShrunk,
            ..proposal(scratch.path(), "run-2", 4)
        };
        match lake(Arc::new(faulty)).commit(fewer).await {
            Ok(outcome) => {
                assert!(matches!(outcome, CommitOutcome::Shrunk { lost: 1, .. }));
                break;
            }
            Err(error) => assert!(error.is_retryable(), "at {failed}: {error:?}"),
        }
        failed += 1;
    }
    // The listing and the manifest, and then the data file.
    assert!(failed > 2, "{failed}");
}

#[tokio::test]
async fn a_commit_without_its_files_is_broken_and_committed_again() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let healthy = lake(Arc::clone(&disk));
    healthy
        .commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap();
    let mut faulty = FaultyStore::new(disk);
    faulty.dies_after_create = true;
    let result = lake(Arc::new(faulty))
        .commit(proposal(scratch.path(), "run-2", 6))
        .await;
    assert!(matches!(result, Err(LoadError::Store { .. })));

    let committed = healthy.state(&key()).await.unwrap().unwrap();
    assert!(!committed.published && !committed.is_broken() && committed.revision == 2);
    for path in paths(&healthy, "_answerlake/staging").await {
        let store = healthy.store().object_store();
        object_store::ObjectStoreExt::delete(&store, &path.into())
            .await
            .unwrap();
    }
    let broken = healthy.state(&key()).await.unwrap().unwrap();
    assert_eq!(broken.missing.len(), 1);
    let states = healthy
        .states(key().app_id(), &key().window(), key().grain())
        .await
        .unwrap();
    assert!(states[&key()].is_broken());
    assert_eq!(
        healthy.recover(Some(key().app_id())).await.unwrap(),
        [Recovered::Broken {
            partition: key(),
            revision: 2,
            missing: broken.missing
        }]
    );

    // What was made of revision 1 does not know what revision 2 brought, whatever became of that.
    let outcome = healthy
        .commit(Proposal {
            on_committed: OnCommitted::ReplaceRevision(1),
            ..proposal(scratch.path(), "run-3", 7)
        })
        .await
        .unwrap();
    assert_eq!(outcome, CommitOutcome::Refused { revision: 2 });

    // Nor may a reread lose what is left of revision 1, which readers still have.
    let outcome = healthy
        .commit(Proposal {
            on_committed: OnCommitted::ReplaceUnlessShrunk,
            ..proposal(scratch.path(), "run-3", 3)
        })
        .await
        .unwrap();
    assert!(
        matches!(
            outcome,
            CommitOutcome::Shrunk {
                revision: 2,
                lost: 2,
                ..
            }
        ),
        "{outcome:?}"
    );

    // Even the digest that it claims to hold does not count, and the files of revision 1 go.
    let outcome = healthy
        .commit(proposal(scratch.path(), "run-3", 6))
        .await
        .unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Committed { revision: 3, .. }
    ));
    assert_eq!(check_consistent(&healthy).await, 3);
}

#[tokio::test]
async fn on_a_local_disk_no_empty_staging_folder_is_left() {
    let test = local().await;
    test.lake
        .commit(proposal(test.scratch.path(), "run-1", 5))
        .await
        .unwrap();
    assert!(
        !test
            .scratch
            .path()
            .join("lake/_answerlake/staging")
            .exists()
    );
}

#[tokio::test]
async fn the_next_run_finishes_a_commit_before_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let healthy = lake(Arc::clone(&disk));
    healthy
        .commit(proposal(scratch.path(), "run-1", 5))
        .await
        .unwrap();
    let mut faulty = FaultyStore::new(disk);
    faulty.dies_after_create = true;
    let result = lake(Arc::new(faulty))
        .commit(proposal(scratch.path(), "run-2", 6))
        .await;
    assert!(result.is_err());

    let outcome = healthy
        .commit(proposal(scratch.path(), "run-3", 7))
        .await
        .unwrap();
    assert!(matches!(
        outcome,
        CommitOutcome::Committed { revision: 3, .. }
    ));
    assert_eq!(check_consistent(&healthy).await, 3);
    let markers = paths(&healthy, "_answerlake/commits").await;
    let markers = markers.iter().filter(|path| path.ends_with(".published"));
    assert_eq!(
        markers.count(),
        3,
        "no revision is built on one that is not published"
    );
}
