//! Files that are held are read to their end, whatever becomes of their partition.

use answerlake_load::{HeldFiles, Lake, LoadError, PartitionState};
use answerlake_model::{PerTable, Table};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::setup::{TestLake, key, local, memory, over_all_stores, proposal, s3};

over_all_stores!(
    files_that_are_held_outlive_their_revision,
    a_commit_is_held_wherever_its_files_are,
    a_file_that_is_nowhere_is_named,
    whoever_holds_a_partition_under_a_writer_has_one_revision,
);

async fn commit(test: &TestLake, rows: i64) -> PartitionState {
    let folder = test.scratch.path().join(format!("encoded-{rows}"));
    let proposed = proposal(&folder, &format!("run-{rows}"), rows);
    test.lake.commit(proposed).await.unwrap();
    test.lake.state(&key()).await.unwrap().unwrap()
}

async fn rows(files: HeldFiles) -> PerTable<usize> {
    let count = move || {
        files.into_batches(64).map(|batches| {
            batches
                .map(|batch| batch.unwrap().num_rows())
                .sum::<usize>()
        })
    };
    tokio::task::spawn_blocking(count).await.unwrap()
}

async fn held(test: &TestLake) -> Result<(u64, HeldFiles), LoadError> {
    let held = test.lake.hold_newest(&key(), test.scratch.path()).await?;
    Ok(held.map(|(state, files)| (state.revision, files)).unwrap())
}

async fn files_that_are_held_outlive_their_revision(test: TestLake) {
    let scratch = test.scratch.path();
    assert!(
        test.lake
            .hold_newest(&key(), scratch)
            .await
            .unwrap()
            .is_none()
    );
    let first = commit(&test, 1000).await;
    let before = test.lake.hold(&key(), &first, scratch).await.unwrap();
    commit(&test, 1500).await;
    let files = before.unwrap();
    let read = rows(files).await;
    assert_eq!((read[Table::Queries], read[Table::Chunks]), (1000, 3));

    // The revision itself cannot be had any more; the newest one can.
    assert!(
        test.lake
            .hold(&key(), &first, scratch)
            .await
            .unwrap()
            .is_none()
    );
    let (revision, files) = held(&test).await.unwrap();
    assert_eq!((revision, rows(files).await[Table::Queries]), (2, 1500));
}

async fn a_commit_is_held_wherever_its_files_are(test: TestLake) {
    let state = commit(&test, 100).await;
    let store = test.lake.store().object_store();
    let marker = format!("_answerlake/commits/{}/00000001.published", key());
    store.delete(&Path::from(marker)).await.unwrap();
    for (number, file) in state.manifest.files.iter().enumerate() {
        // One of them is in place, the other is staged still.
        if number == 0 {
            let staged = file.staged_path().unwrap();
            let (from, to) = (Path::from(file.path.as_str()), Path::from(staged));
            store.rename(&from, &to).await.unwrap();
        }
    }
    assert!(!test.lake.state(&key()).await.unwrap().unwrap().published);
    let (revision, files) = held(&test).await.unwrap();
    let read = rows(files).await;
    assert_eq!(
        (revision, read[Table::Queries], read[Table::Chunks]),
        (1, 100, 3)
    );
}

async fn a_file_that_is_nowhere_is_named(test: TestLake) {
    let state = commit(&test, 100).await;
    let path = Path::from(state.manifest.files[0].path.as_str());
    test.lake
        .store()
        .object_store()
        .delete(&path)
        .await
        .unwrap();
    let error = held(&test).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(
        error.to_string(),
        format!("cannot read `{path}` in the lake")
    );
}

#[expect(clippy::print_stdout, reason = "how many were met")]
async fn whoever_holds_a_partition_under_a_writer_has_one_revision(test: TestLake) {
    const REPLACEMENTS: i64 = 25;
    commit(&test, 1).await;
    let lake: Lake = test.lake.clone();
    let folder = test.scratch.path().to_owned();
    let writer = tokio::spawn(async move {
        for rows in 2..=REPLACEMENTS {
            let folder = folder.join(format!("encoded-{rows}"));
            let proposed = proposal(&folder, "writer", rows);
            lake.commit(proposed).await.unwrap();
        }
    });
    let (mut seen, mut held_times) = (0, 0);
    while seen < REPLACEMENTS as u64 {
        let (revision, files) = held(&test).await.unwrap();
        // Each revision has as many rows as its number says.
        assert_eq!(rows(files).await[Table::Queries] as u64, revision);
        assert!(revision >= seen);
        seen = revision;
        held_times += 1;
    }
    writer.await.unwrap();
    println!("held {held_times} times under {REPLACEMENTS} replacements");
}
