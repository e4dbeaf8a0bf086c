//! What `verify` finds of a partition, over every kind of store: each damage by its name and place, and nothing else.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use answerlake_load::{
    Checked, CommitOutcome, DataFileWriter, Expected, Fault, Finding, Lake, OnCommitted, Proposal,
    WriterConfig,
};
use answerlake_model::{JobBooks, PartitionBooks, PerTable, Table, TableSchema};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::setup::{
    TestLake, batch, check_consistent, key, local, memory, over_all_stores, paths, proposal, s3,
    schema, schemas,
};

const COMMITS: &str = "_answerlake/commits/app_id=st-1/dt=2025-06-28";

over_all_stores!(
    an_untouched_partition_has_no_findings,
    each_damage_is_found_and_nothing_else,
    what_a_killed_publish_left_is_unpublished_and_no_more,
    files_that_nobody_lists_are_found,
    a_commit_that_reads_back_mends_what_is_damaged,
    columns_are_read_wherever_a_file_is_stored,
);

fn expected() -> Expected {
    Expected {
        schemas: schemas(),
        schema_version: 1,
        pinned_version: 1,
    }
}

async fn check(lake: &Lake) -> Checked {
    let revisions = lake.revisions_of(&key()).await.unwrap();
    assert_eq!(
        lake.revisions(None)
            .await
            .unwrap()
            .get(&key())
            .cloned()
            .unwrap_or_default(),
        revisions
    );
    lake.check_partition(&key(), &revisions, &expected())
        .await
        .unwrap()
}

async fn unlisted(lake: &Lake, listed: &[String]) -> Vec<Finding> {
    let listed: HashSet<String> = listed.iter().cloned().collect();
    let app_id = key().app_id().clone();
    lake.unlisted_files(&app_id, &listed, |_| true)
        .await
        .unwrap()
}

/// Three revisions: the chunks are those of the first, the queries change.
async fn three_revisions(test: &TestLake) -> Vec<String> {
    for rows in [10, 20, 30] {
        let committed = test
            .lake
            .commit(proposal(test.scratch.path(), "run", rows))
            .await;
        assert!(matches!(
            committed.unwrap(),
            CommitOutcome::Committed { .. }
        ));
    }
    let mut files = paths(&test.lake, "chunks").await;
    files.extend(paths(&test.lake, "queries").await);
    files
}

fn store(lake: &Lake) -> Arc<dyn ObjectStore> {
    lake.store().object_store()
}

async fn read(lake: &Lake, path: &str) -> Bytes {
    let found = store(lake).get(&Path::from(path)).await.unwrap();
    found.bytes().await.unwrap()
}

async fn write(lake: &Lake, path: &str, bytes: impl Into<Bytes>) {
    store(lake)
        .put(&Path::from(path), bytes.into().into())
        .await
        .unwrap();
}

async fn delete(lake: &Lake, path: &str) {
    store(lake).delete(&Path::from(path)).await.unwrap();
}

async fn edit(lake: &Lake, revision: u64, change: impl FnOnce(&mut Value)) {
    let path = format!("{COMMITS}/{revision:08}.json");
    let mut manifest = serde_json::from_slice(&read(lake, &path).await).unwrap();
    change(&mut manifest);
    write(lake, &path, manifest.to_string()).await;
}

/// Puts other bytes in the place of a file, and makes the manifest believe them.
async fn forge(lake: &Lake, path: &str, bytes: Vec<u8>) -> String {
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let forged = format!(
        "{}-{}.parquet",
        path.rsplit_once('-').unwrap().0,
        &sha256[..12]
    );
    delete(lake, path).await;
    edit(lake, 3, |manifest| {
        let files = manifest["files"].as_array_mut().unwrap();
        let file = files.iter_mut().find(|file| file["path"] == path).unwrap();
        file["path"] = json!(forged);
        file["bytes"] = json!(bytes.len());
        file["sha256"] = json!(sha256);
    })
    .await;
    write(lake, &forged, bytes).await;
    forged
}

async fn an_untouched_partition_has_no_findings(test: TestLake) {
    let files = three_revisions(&test).await;
    let checked = check(&test.lake).await;
    assert_eq!(checked.findings, []);
    assert!(checked.is_intact);
    assert_eq!(checked.manifest.unwrap().revision, 3);
    assert_eq!(unlisted(&test.lake, &files).await, []);
    // Found out anew, too, where the caller knows of none.
    assert_eq!(unlisted(&test.lake, &[]).await, []);
    let apps = BTreeSet::from([key().app_id().clone()]);
    assert_eq!(test.lake.files_of_no_app(&apps).await.unwrap(), []);

    let empty = Proposal {
        files: Vec::new(),
        content_digest: "empty".to_owned(),
        books: PartitionBooks::default(),
        ..proposal(test.scratch.path(), "run", 1)
    };
    test.lake.commit(empty).await.unwrap();
    let checked = check(&test.lake).await;
    assert_eq!((checked.findings, checked.is_intact), (Vec::new(), true));
}

type Damage = for<'l> fn(&'l Lake, [&'l str; 2]) -> BoxFuture<'l, String>;

/// Each damage, given the lake and the files of chunks and queries, gives the path of what is damaged.
const DAMAGES: [(&[Fault], Damage); 22] = [
    (&[Fault::FileMissing], |lake, [_, queries]| {
        async move {
            delete(lake, queries).await;
            queries.to_owned()
        }
        .boxed()
    }),
    (&[Fault::WrongSize], |lake, [chunks, _]| {
        async move {
            let bytes = read(lake, chunks).await;
            write(lake, chunks, bytes.slice(..bytes.len() - 1)).await;
            chunks.to_owned()
        }
        .boxed()
    }),
    (&[Fault::WrongChecksum], |lake, [chunks, _]| {
        async move {
            let mut bytes = read(lake, chunks).await.to_vec();
            bytes[100] ^= 1;
            write(lake, chunks, bytes).await;
            chunks.to_owned()
        }
        .boxed()
    }),
    (&[Fault::Undecodable], |lake, [chunks, _]| {
        async move { forge(lake, chunks, b"PAR1, or so it says. PAR1".to_vec()).await }.boxed()
    }),
    (&[Fault::WrongColumns], |lake, [chunks, _]| {
        async move { forge(lake, chunks, parquet_of(3, 1)).await }.boxed()
    }),
    (&[Fault::WrongSchemaVersion], |lake, [chunks, _]| {
        async move { forge(lake, chunks, parquet_of(5, 7)).await }.boxed()
    }),
    (&[Fault::WrongRows], |lake, [chunks, _]| {
        async move {
            edit(lake, 3, |manifest| {
                let files = manifest["files"].as_array_mut().unwrap();
                let file = files
                    .iter_mut()
                    .find(|file| file["path"] == chunks)
                    .unwrap();
                file["rows"] = json!(4);
            })
            .await;
            chunks.to_owned()
        }
        .boxed()
    }),
    (&[Fault::PartitionBooks], |lake, _| {
        edit_newest(lake, |manifest| manifest["books"]["duplicates"] = json!(1))
    }),
    (&[Fault::PartitionBooks], |lake, _| {
        edit_newest(lake, |manifest| {
            manifest["books"]["written"] = json!(29);
            manifest["books"]["assigned"] = json!(29);
        })
    }),
    (&[Fault::JobBooks], |lake, _| {
        edit_newest(lake, |manifest| {
            let mut job = serde_json::to_value(job()).unwrap();
            job["promised"] = json!(31);
            manifest["jobs"] = json!([job]);
        })
    }),
    (&[Fault::WrongSchemaVersion], |lake, [chunks, queries]| {
        async move {
            // The files are those of version 1 then, each of them.
            edit(lake, 3, |manifest| manifest["schema_version"] = json!(0)).await;
            format!("{chunks} {queries}")
        }
        .boxed()
    }),
    (&[Fault::ManifestMisplaced], |lake, _| {
        edit_newest(lake, |manifest| {
            manifest["partition"] = json!("app_id=st-1/dt=2025-06-27");
        })
    }),
    (&[Fault::ManifestMisplaced], |lake, _| {
        edit_newest(lake, |manifest| manifest["revision"] = json!(4))
    }),
    (&[Fault::ManifestMisplaced], |lake, _| {
        edit_newest(lake, |manifest| {
            let files = manifest["files"].as_array_mut().unwrap();
            let file = files
                .iter_mut()
                .find(|file| file["table"] == "chunks")
                .unwrap();
            file["table"] = json!("answers");
        })
    }),
    (&[Fault::ManifestMisplaced], |lake, _| {
        edit_newest(lake, |manifest| {
            let files = manifest["files"].as_array_mut().unwrap();
            let twice = files
                .iter()
                .find(|file| file["table"] == "chunks")
                .unwrap()
                .clone();
            files.push(twice);
        })
    }),
    (&[Fault::ManifestUnreadable], |lake, _| {
        async move {
            let path = format!("{COMMITS}/00000003.json");
            write(lake, &path, "{").await;
            path
        }
        .boxed()
    }),
    (&[Fault::ManifestUnreadable], |lake, _| {
        async move {
            let path = format!("{COMMITS}/00000001.json");
            write(lake, &path, "[]").await;
            path
        }
        .boxed()
    }),
    (&[Fault::ManifestUnreadable], |lake, _| {
        async move {
            edit(lake, 2, |manifest| manifest["format_version"] = json!(2)).await;
            format!("{COMMITS}/00000002.json")
        }
        .boxed()
    }),
    (&[Fault::ManifestMissing], |lake, _| {
        async move {
            let path = format!("{COMMITS}/00000002.json");
            delete(lake, &path).await;
            path
        }
        .boxed()
    }),
    (&[Fault::MarkerMissing], |lake, _| {
        async move {
            let path = format!("{COMMITS}/00000001.published");
            delete(lake, &path).await;
            path
        }
        .boxed()
    }),
    (&[Fault::Unpublished], |lake, _| {
        async move {
            let path = format!("{COMMITS}/00000003.published");
            delete(lake, &path).await;
            path
        }
        .boxed()
    }),
    (&[Fault::DeadLettersMissing], |lake, _| {
        async move {
            edit(lake, 3, |manifest| {
                manifest["books"]["dead_letters"] = json!(2);
                manifest["books"]["assigned"] = json!(32);
            })
            .await;
            "_answerlake/dead_letters/app_id=st-1/dt=2025-06-28".to_owned()
        }
        .boxed()
    }),
];

fn edit_newest<'l>(
    lake: &'l Lake,
    change: impl FnOnce(&mut Value) + Send + 'l,
) -> BoxFuture<'l, String> {
    async move {
        edit(lake, 3, change).await;
        format!("{COMMITS}/00000003.json")
    }
    .boxed()
}

fn job() -> JobBooks {
    JobBooks {
        job_id: Some("fj-1".to_owned()),
        window: None,
        as_of: None,
        promised: Some(30),
        fragments: 1,
        decoded: 30,
        margin: 0,
        strays: 0,
        unassigned: 0,
        assigned: 30,
        duplicates: 0,
        export_millis: None,
        fit: None,
    }
}

/// A file of the first columns of three rows.
fn parquet_of(columns: usize, schema_version: u32) -> Vec<u8> {
    let scratch = tempfile::tempdir().unwrap();
    let schema = schema(Table::Chunks);
    let fields = schema.arrow.fields()[..columns].to_vec();
    let schema = TableSchema {
        arrow: Arc::new(Schema::new(fields)),
        roles: schema.roles[..columns].to_vec(),
        ..schema
    };
    let rows = batch(0..3)
        .project(&(0..columns).collect::<Vec<_>>())
        .unwrap();
    let config = WriterConfig::default();
    let writer = DataFileWriter::try_new(&config, &schema, schema_version, scratch.path());
    let mut writer = writer.unwrap();
    assert_eq!(writer.write(&rows).unwrap(), 3);
    std::fs::read(writer.close().unwrap().scratch).unwrap()
}

async fn each_damage_is_found_and_nothing_else(test: TestLake) {
    let files = three_revisions(&test).await;
    let [chunks, queries] = &files[..] else {
        panic!("{files:?}");
    };
    let objects = paths(&test.lake, "").await;
    let mut intact = Vec::new();
    for path in &objects {
        intact.push((path, read(&test.lake, path).await));
    }
    for (number, (faults, damage)) in DAMAGES.iter().enumerate() {
        let damaged = damage(&test.lake, [chunks, queries]).await;
        let checked = check(&test.lake).await;
        let found: Vec<_> = checked
            .findings
            .iter()
            .map(|finding| finding.fault)
            .collect();
        let paths_found: Vec<_> = checked
            .findings
            .iter()
            .map(|finding| {
                assert_eq!(finding.partition, Some(key()));
                finding.path.clone().unwrap()
            })
            .collect();
        if damaged.contains(' ') {
            let mut paths_found = paths_found.clone();
            paths_found.sort();
            assert_eq!(paths_found.join(" "), damaged, "damage {number}");
            assert!(
                found.iter().all(|fault| faults.contains(fault)),
                "{found:?}"
            );
        } else {
            assert_eq!(found, *faults, "damage {number}: {:?}", checked.findings);
            assert_eq!(paths_found, [damaged], "damage {number}");
        }
        for path in paths(&test.lake, "").await {
            delete(&test.lake, &path).await;
        }
        for (path, bytes) in &intact {
            write(&test.lake, path, bytes.clone()).await;
        }
        assert_eq!(check(&test.lake).await.findings, []);
    }
    // The newest revision is gone altogether: an older one is taken for it, whose files went.
    delete(&test.lake, &format!("{COMMITS}/00000003.json")).await;
    let checked = check(&test.lake).await;
    let found: Vec<_> = checked
        .findings
        .iter()
        .map(|finding| finding.fault)
        .collect();
    assert_eq!(found, [Fault::ManifestMissing, Fault::FileMissing]);
    // Nobody is told to remove what only that revision lists.
    assert_eq!(unlisted(&test.lake, &[]).await, []);
}

async fn what_a_killed_publish_left_is_unpublished_and_no_more(test: TestLake) {
    let files = three_revisions(&test).await;
    let queries = &files[1];
    delete(&test.lake, &format!("{COMMITS}/00000003.published")).await;
    let state = test.lake.state(&key()).await.unwrap().unwrap();
    let file = state
        .manifest
        .files
        .iter()
        .find(|file| file.path == *queries)
        .unwrap();
    let staged = file.staged_path().unwrap();
    write(&test.lake, staged, read(&test.lake, queries).await).await;
    delete(&test.lake, queries).await;
    // What it is to drop is there still.
    let dropped = &state.manifest.dropped[0];
    write(&test.lake, dropped, "of the revision before").await;

    let checked = check(&test.lake).await;
    assert!(!checked.is_intact);
    let found: Vec<_> = checked
        .findings
        .iter()
        .map(|finding| finding.fault)
        .collect();
    assert_eq!(found, [Fault::Unpublished], "{:?}", checked.findings);
    assert_eq!(unlisted(&test.lake, &[]).await, []);

    write(&test.lake, staged, "something else").await;
    let found = check(&test.lake).await.findings;
    assert_eq!(found[1].fault, Fault::WrongSize);
    delete(&test.lake, staged).await;
    let found = check(&test.lake).await.findings;
    assert_eq!(found[1].fault, Fault::FileMissing);
}

async fn files_that_nobody_lists_are_found(test: TestLake) {
    let files = three_revisions(&test).await;
    let foreign = [
        "answers/app_id=st-1/dt=2025-06-27/part-00000-r1-0123456789ab.parquet",
        "chunks/app_id=st-1/x.parquet",
        "queries/app_id=st-1/dt=2025-06-28/copy.parquet",
    ];
    let of_no_app = [
        "events/x.parquet",
        "queries/app_id=st-2/dt=2025-06-28/x.parquet",
    ];
    for path in foreign.iter().chain(&of_no_app) {
        write(&test.lake, path, "x").await;
    }
    let found = |findings: Vec<Finding>| {
        let mut found: Vec<_> = findings
            .into_iter()
            .map(|finding| {
                assert_eq!(finding.fault, Fault::UnlistedFile);
                finding.path.unwrap()
            })
            .collect();
        found.sort();
        found
    };
    assert_eq!(found(unlisted(&test.lake, &files).await), foreign);
    let apps = BTreeSet::from([key().app_id().clone()]);
    let others = test.lake.files_of_no_app(&apps).await.unwrap();
    assert_eq!(found(others), of_no_app);
    assert_eq!(check(&test.lake).await.findings, []);
}

async fn a_commit_that_reads_back_mends_what_is_damaged(test: TestLake) {
    let proposed = |rows| Proposal {
        recheck: true,
        on_committed: OnCommitted::ReplaceUnlessShrunk,
        record_id_columns: PerTable::from_fn(|table| {
            (table == Table::Queries).then_some("query_id")
        }),
        ..proposal(test.scratch.path(), "run-forced", rows)
    };
    let files = three_revisions(&test).await;
    let unchanged = test.lake.commit(proposed(30)).await.unwrap();
    assert!(
        matches!(unchanged, CommitOutcome::Unchanged { revision: 3, .. }),
        "{unchanged:?}"
    );

    // Of one file a byte is wrong, another is gone.
    let mut bytes = read(&test.lake, &files[0]).await.to_vec();
    bytes[100] ^= 1;
    write(&test.lake, &files[0], bytes).await;
    delete(&test.lake, &files[1]).await;
    let careless = test
        .lake
        .commit(proposal(test.scratch.path(), "run", 30))
        .await
        .unwrap();
    assert!(matches!(
        careless,
        CommitOutcome::Unchanged { revision: 3, .. }
    ));
    let mended = test.lake.commit(proposed(30)).await.unwrap();
    assert!(
        matches!(mended, CommitOutcome::Committed { revision: 4, .. }),
        "{mended:?}"
    );
    assert_eq!(check_consistent(&test.lake).await, 4);
    assert_eq!(check(&test.lake).await.findings, []);

    // The files are as they were committed, and not what the records make.
    let chunks = paths(&test.lake, "chunks").await.remove(0);
    let path = format!("{COMMITS}/00000003.json");
    let newest = read(&test.lake, &format!("{COMMITS}/00000004.json")).await;
    write(&test.lake, &path, newest).await;
    forge(&test.lake, &chunks, parquet_of(4, 1)).await;
    let forged = read(&test.lake, &path).await;
    write(&test.lake, &format!("{COMMITS}/00000004.json"), forged).await;
    let mended = test.lake.commit(proposed(30)).await.unwrap();
    assert!(
        matches!(mended, CommitOutcome::Committed { revision: 5, .. }),
        "{mended:?}"
    );
    check_consistent(&test.lake).await;

    // The books are wrong.
    let mut manifest: Value =
        serde_json::from_slice(&read(&test.lake, &format!("{COMMITS}/00000005.json")).await)
            .unwrap();
    manifest["books"]["written"] = json!(31);
    write(
        &test.lake,
        &format!("{COMMITS}/00000005.json"),
        manifest.to_string(),
    )
    .await;
    let mended = test.lake.commit(proposed(30)).await.unwrap();
    assert!(
        matches!(
            mended,
            CommitOutcome::Committed {
                revision: 6,
                bytes_written: 0,
                ..
            }
        ),
        "{mended:?}"
    );
    assert_eq!(check_consistent(&test.lake).await, 6);

    // A source that lacks records is no reason to drop what is there, while it is whole.
    let shrunk = test.lake.commit(proposed(20)).await.unwrap();
    assert!(
        matches!(shrunk, CommitOutcome::Shrunk { lost: 10, .. }),
        "{shrunk:?}"
    );
}

async fn columns_are_read_wherever_a_file_is_stored(test: TestLake) {
    three_revisions(&test).await;
    let manifest = check(&test.lake).await.manifest.unwrap();
    let file = manifest
        .files
        .iter()
        .find(|file| file.table == Table::Queries)
        .unwrap();
    let columns = test.lake.open_columns(file).await.unwrap();
    assert_eq!(
        columns.names().collect::<Vec<_>>(),
        ["query_id", "created_at", "text", "tags", "score"]
    );
    let runtime = Handle::current();
    let read = tokio::task::spawn_blocking(move || {
        let batches = columns
            .read(&["tags", "text", "no such"], &runtime)
            .unwrap();
        batches.map(Result::unwrap).collect::<Vec<_>>()
    });
    let batches = read.await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 30);
    let shown = |batches: &[RecordBatch]| {
        let column = |name: &str| {
            let columns = batches
                .iter()
                .map(|batch| batch.column_by_name(name).unwrap());
            columns
                .flat_map(|column| {
                    let options = arrow::util::display::FormatOptions::default();
                    let shown =
                        arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap();
                    (0..column.len())
                        .map(|row| shown.value(row).to_string())
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        };
        (column("text"), column("tags"))
    };
    assert_eq!(shown(&batches), shown(&[batch(0..30)]));

    // One that went meanwhile says so.
    let columns = test.lake.open_columns(file).await.unwrap();
    delete(&test.lake, &file.path).await;
    let runtime = Handle::current();
    let read = tokio::task::spawn_blocking(move || {
        let mut batches = columns.read(&["text"], &runtime).unwrap();
        batches.next().unwrap().unwrap_err()
    });
    assert!(read.await.unwrap().is_not_found());
}
