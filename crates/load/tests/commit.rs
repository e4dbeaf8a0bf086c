//! The contract of a commit, over every kind of store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use answerlake_load::{
    CommitOutcome, KeptFile, KeptKind, Lake, LakeStore, OnCommitted, Proposal, WriterConfig,
};
use answerlake_model::{
    DriftLedger, DriftPath, Grain, JobBooks, JsonType, PartitionKey, RecordDrift, Table, Window,
};

use crate::faulty_store::FaultyStore;
use crate::setup::{
    TestLake, check_consistent, encode, key, key_of, local, memory, noise, over_all_stores, paths,
    proposal, s3,
};

over_all_stores!(
    a_first_commit_puts_files_in_place,
    the_same_content_writes_nothing,
    a_replacement_drops_old_files_and_carries_equal_ones_over,
    a_name_is_never_used_again,
    provisional_ends_without_writing_data,
    a_partition_without_records_is_committed,
    a_large_file_is_uploaded_in_parts,
    ingest_does_not_replace,
    what_was_made_of_a_revision_replaces_no_other,
    a_proposal_that_lacks_records_does_not_replace,
    an_older_job_does_not_undo_a_newer_one,
    unknown_sections_are_kept_with_their_content,
    a_ledger_is_of_the_records_that_the_revision_holds,
    racers_win_one_revision_each,
    states_lists_what_overlaps,
    small_objects_come_and_go,
    what_is_kept_beside_the_tables_is_there_once_and_whole,
);

impl TestLake {
    fn proposal(&self, rows: i64) -> Proposal {
        proposal(self.scratch.path(), "run-1", rows)
    }

    async fn commit(&self, proposal: Proposal) -> CommitOutcome {
        self.lake.commit(proposal).await.unwrap()
    }

    async fn files(&self) -> Vec<String> {
        let mut files = paths(&self.lake, "queries").await;
        files.extend(paths(&self.lake, "chunks").await);
        files
    }
}

fn revision(outcome: &CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed { revision, .. } => *revision,
        other => panic!("not committed: {other:?}"),
    }
}

async fn a_first_commit_puts_files_in_place(test: TestLake) {
    assert_eq!(test.lake.state(&key()).await.unwrap(), None);
    let proposal = test.proposal(10);
    let bytes: u64 = proposal.files.iter().map(|file| file.bytes).sum();
    let hash = proposal.files[0].sha256[..12].to_owned();
    let CommitOutcome::Committed {
        revision,
        rows,
        bytes_written,
    } = test.commit(proposal).await
    else {
        panic!("not committed");
    };
    assert_eq!((revision, bytes_written), (1, bytes));
    assert_eq!(
        (
            rows[Table::Queries],
            rows[Table::Chunks],
            rows[Table::Events]
        ),
        (10, 3, 0)
    );
    assert_eq!(
        paths(&test.lake, "queries").await,
        [format!(
            "queries/app_id=st-1/dt=2025-06-28/part-00000-r1-{hash}.parquet"
        )]
    );
    assert_eq!(
        paths(&test.lake, "_answerlake").await,
        [
            "_answerlake/commits/app_id=st-1/dt=2025-06-28/00000001.json",
            "_answerlake/commits/app_id=st-1/dt=2025-06-28/00000001.published",
        ]
    );
    assert_eq!(check_consistent(&test.lake).await, 1);
    let left = std::fs::read_dir(test.scratch.path()).unwrap();
    let scratch = left.filter(|entry| entry.as_ref().unwrap().file_name() != "lake");
    assert_eq!(scratch.count(), 0, "scratch is removed");
}

async fn the_same_content_writes_nothing(test: TestLake) {
    test.commit(test.proposal(10)).await;
    let before = (test.files().await, paths(&test.lake, "_answerlake").await);
    let again = test.commit(test.proposal(10)).await;
    assert!(
        matches!(again, CommitOutcome::Unchanged { revision: 1, .. }),
        "{again:?}"
    );
    // What was proven stays proven.
    let weaker = Proposal {
        provisional: true,
        partial: true,
        ..test.proposal(10)
    };
    assert!(matches!(
        test.commit(weaker).await,
        CommitOutcome::Unchanged { revision: 1, .. }
    ));
    assert_eq!(
        before,
        (test.files().await, paths(&test.lake, "_answerlake").await)
    );

    let forced = Proposal {
        allow_unchanged: false,
        ..test.proposal(10)
    };
    let outcome = test.commit(forced).await;
    assert!(
        matches!(
            outcome,
            CommitOutcome::Committed {
                revision: 2,
                bytes_written: 0,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(before.0, test.files().await, "equal bytes are carried over");
    check_consistent(&test.lake).await;
}

async fn a_replacement_drops_old_files_and_carries_equal_ones_over(test: TestLake) {
    test.commit(test.proposal(10)).await;
    let (queries, chunks) = (
        paths(&test.lake, "queries").await,
        paths(&test.lake, "chunks").await,
    );
    assert_eq!(revision(&test.commit(test.proposal(11)).await), 2);
    assert_eq!(chunks, paths(&test.lake, "chunks").await);
    assert!(chunks[0].contains("-r1-"));
    let replaced = paths(&test.lake, "queries").await;
    assert_eq!(replaced.len(), 1);
    assert!(replaced[0].contains("-r2-"), "{replaced:?}");
    let state = test.lake.state(&key()).await.unwrap().unwrap();
    assert_eq!(state.manifest.dropped, queries);
    assert_eq!(check_consistent(&test.lake).await, 2);
}

async fn a_name_is_never_used_again(test: TestLake) {
    let mut seen = BTreeSet::new();
    for rows in [10, 11, 10, 11] {
        test.commit(test.proposal(rows)).await;
        assert!(seen.insert(paths(&test.lake, "queries").await));
        check_consistent(&test.lake).await;
    }
}

async fn a_proposal_that_lacks_records_does_not_replace(test: TestLake) {
    test.commit(test.proposal(10)).await;
    let before = (test.files().await, paths(&test.lake, "_answerlake").await);
    let guarded = |rows| Proposal {
        on_committed: OnCommitted::ReplaceUnlessShrunk,
        ..test.proposal(rows)
    };
    let outcome = test.commit(guarded(9)).await;
    assert!(
        matches!(&outcome, CommitOutcome::Shrunk { revision: 1, lost: 1, example } if !example.is_empty()),
        "{outcome:?}"
    );
    assert_eq!(
        before,
        (test.files().await, paths(&test.lake, "_answerlake").await)
    );
    assert_eq!(revision(&test.commit(guarded(11)).await), 2);
    assert_eq!(revision(&test.commit(test.proposal(1)).await), 3);
    check_consistent(&test.lake).await;
}

async fn an_older_job_does_not_undo_a_newer_one(test: TestLake) {
    let of_job = |rows, as_of: &str| {
        let job = JobBooks {
            export_millis: None,
            fit: None,
            job_id: Some(format!("fj-{as_of}")),
            window: None,
            as_of: Some(as_of.parse().unwrap()),
            promised: None,
            fragments: 1,
            decoded: 0,
            margin: 0,
            strays: 0,
            unassigned: 0,
            assigned: 0,
            duplicates: 0,
        };
        Proposal {
            jobs: vec![job],
            ..test.proposal(rows)
        }
    };
    test.commit(of_job(10, "2025-06-30T12:00:00Z")).await;
    let older = test.commit(of_job(12, "2025-06-30T11:59:59Z")).await;
    assert!(
        matches!(older, CommitOutcome::Outdated { revision: 1, .. }),
        "{older:?}"
    );
    assert_eq!(
        revision(&test.commit(of_job(12, "2025-06-30T12:00:01Z")).await),
        2
    );
    check_consistent(&test.lake).await;
}

async fn provisional_ends_without_writing_data(test: TestLake) {
    let provisional = Proposal {
        provisional: true,
        partial: true,
        ..test.proposal(10)
    };
    test.commit(provisional).await;
    let files = test.files().await;
    let outcome = test.commit(test.proposal(10)).await;
    assert!(
        matches!(
            outcome,
            CommitOutcome::Committed {
                revision: 2,
                bytes_written: 0,
                ..
            }
        ),
        "{outcome:?}"
    );
    let state = test.lake.state(&key()).await.unwrap().unwrap();
    assert!(!state.manifest.provisional && !state.manifest.partial);
    assert!(
        state
            .manifest
            .files
            .iter()
            .all(|file| file.staged_path().is_none())
    );
    assert_eq!(files, test.files().await);
    assert_eq!(check_consistent(&test.lake).await, 2);
}

async fn a_partition_without_records_is_committed(test: TestLake) {
    let empty = |test: &TestLake| Proposal {
        files: Vec::new(),
        content_digest: "of nothing".to_owned(),
        ..test.proposal(0)
    };
    assert_eq!(revision(&test.commit(empty(&test)).await), 1);
    assert_eq!(test.files().await, [""; 0]);
    test.commit(test.proposal(10)).await;
    assert_eq!(revision(&test.commit(empty(&test)).await), 3);
    assert_eq!(test.files().await, [""; 0]);
    assert_eq!(check_consistent(&test.lake).await, 3);
}

async fn a_large_file_is_uploaded_in_parts(test: TestLake) {
    let files = encode(
        test.scratch.path(),
        WriterConfig::default(),
        &[(Table::Queries, noise(300_000))],
    );
    assert!(files[0].bytes > 9 << 20, "{}", files[0].bytes);
    let large = Proposal {
        files,
        ..test.proposal(0)
    };
    assert_eq!(revision(&test.commit(large).await), 1);
    assert_eq!(check_consistent(&test.lake).await, 1);
}

async fn ingest_does_not_replace(test: TestLake) {
    let ingest = |rows| Proposal {
        on_committed: OnCommitted::Refuse,
        ..test.proposal(rows)
    };
    assert_eq!(revision(&test.commit(ingest(10)).await), 1);
    assert!(matches!(
        test.commit(ingest(10)).await,
        CommitOutcome::Unchanged { revision: 1, .. }
    ));
    assert_eq!(
        test.commit(ingest(11)).await,
        CommitOutcome::Refused { revision: 1 }
    );
    assert_eq!(check_consistent(&test.lake).await, 1);
}

async fn what_was_made_of_a_revision_replaces_no_other(test: TestLake) {
    let union = |rows| Proposal {
        on_committed: OnCommitted::ReplaceRevision(1),
        ..test.proposal(rows)
    };
    test.commit(test.proposal(10)).await;
    let outcome = test.commit(union(11)).await;
    assert!(matches!(
        outcome,
        CommitOutcome::Committed { revision: 2, .. }
    ));
    assert_eq!(
        test.commit(union(12)).await,
        CommitOutcome::Refused { revision: 2 }
    );
    // What is there already need not be committed.
    let outcome = test.commit(union(11)).await;
    assert!(matches!(
        outcome,
        CommitOutcome::Unchanged { revision: 2, .. }
    ));
    assert_eq!(check_consistent(&test.lake).await, 2);
}

async fn unknown_sections_are_kept_with_their_content(test: TestLake) {
    test.commit(Proposal {
        provisional: true,
        ..test.proposal(10)
    })
    .await;
    let path = object_store::path::Path::from(
        "_answerlake/commits/app_id=st-1/dt=2025-06-28/00000001.json",
    );
    let mut manifest = test.lake.state(&key()).await.unwrap().unwrap().manifest;
    manifest
        .sections
        .insert("of_later".to_owned(), serde_json::json!({"new": ["field"]}));
    let store = test.lake.store().object_store();
    object_store::ObjectStoreExt::put(&store, &path, manifest.to_json().into())
        .await
        .unwrap();

    test.commit(test.proposal(10)).await;
    let carried = test.lake.state(&key()).await.unwrap().unwrap().manifest;
    assert_eq!(
        (carried.revision, &carried.sections),
        (2, &manifest.sections)
    );
    test.commit(test.proposal(11)).await;
    let replaced = test.lake.state(&key()).await.unwrap().unwrap().manifest;
    assert!(replaced.sections.is_empty());
}

async fn a_ledger_is_of_the_records_that_the_revision_holds(test: TestLake) {
    let ledger = |records: usize| {
        let mut ledger = DriftLedger::default();
        for _ in 0..records {
            let path = DriftPath {
                path: "new".to_owned(),
                table: Table::Queries,
                expected: None,
            };
            let record = RecordDrift {
                created_at: "2025-06-28T10:00:00Z".parse().unwrap(),
                id: None,
                findings: vec![(Arc::new(path), JsonType::Null.into())],
                has_more: false,
            };
            ledger.add(&record, usize::MAX);
        }
        ledger
    };
    let with = |rows, records| Proposal {
        drift: ledger(records),
        ..test.proposal(rows)
    };
    let committed = async || {
        let heads = test.lake.heads(None, None).await.unwrap();
        let read = test.lake.drift(heads).await.unwrap();
        let manifest = test.lake.state(&key()).await.unwrap().unwrap().manifest;
        assert_eq!(read[&key()], manifest.drift);
        (
            manifest.revision,
            manifest.drift.records(),
            manifest.to_json(),
        )
    };
    test.commit(test.proposal(9)).await;
    let (_, records, json) = committed().await;
    assert_eq!(records, 0);
    assert!(!String::from_utf8_lossy(&json).contains("drift"));
    let provisional = Proposal {
        provisional: true,
        ..with(10, 2)
    };
    test.commit(provisional).await;
    assert_eq!(committed().await.0, 2);
    assert_eq!(committed().await.1, 2);
    // The same content as a new revision, and the same content again.
    test.commit(with(10, 3)).await;
    test.commit(with(10, 4)).await;
    assert_eq!((committed().await.0, committed().await.1), (3, 3));
    test.commit(test.proposal(11)).await;
    assert_eq!(committed().await.1, 0);
}

async fn racers_win_one_revision_each(test: TestLake) {
    let racers: Vec<_> = (1..=8)
        .map(|rows| {
            let proposal = proposal(test.scratch.path(), &format!("run-{rows}"), rows);
            let lake = test.lake.clone();
            tokio::spawn(async move { lake.commit(proposal).await.unwrap() })
        })
        .collect();
    let mut revisions = BTreeSet::new();
    for racer in racers {
        assert!(revisions.insert(revision(&racer.await.unwrap())));
    }
    assert_eq!(revisions, (1..=8).collect());
    assert_eq!(check_consistent(&test.lake).await, 8);
    assert_eq!(paths(&test.lake, "_answerlake").await.len(), 16);
}

async fn states_lists_what_overlaps(test: TestLake) {
    for day in 26..=30 {
        let key = key_of(&format!("2025-06-{day}T00:00:00Z"));
        test.commit(Proposal {
            key,
            files: Vec::new(),
            ..test.proposal(0)
        })
        .await;
    }
    let window = Window::try_new(
        "2025-06-27T12:00:00Z".parse().unwrap(),
        "2025-06-29T00:00:00Z".parse().unwrap(),
    )
    .unwrap();
    let states = test
        .lake
        .states(key().app_id(), &window, Grain::Day)
        .await
        .unwrap();
    let found: Vec<_> = states.keys().map(PartitionKey::time_levels).collect();
    assert_eq!(found, ["dt=2025-06-27", "dt=2025-06-28"]);
    assert!(
        states
            .values()
            .all(|state| state.published && state.revision == 1)
    );
    assert!(
        test.lake
            .states(key().app_id(), &window, Grain::Hour)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn small_objects_come_and_go(test: TestLake) {
    let (lake, key) = (&test.lake, key());
    let app = key.app_id();
    assert!(lake.jobs(app).await.unwrap().is_empty());
    lake.put_job(app, "fj-2", "{}".into()).await.unwrap();
    lake.put_job(app, "fj-1", "{}".into()).await.unwrap();
    lake.put_job(app, "fj-1", "[1]".into()).await.unwrap();
    assert_eq!(
        lake.jobs(app).await.unwrap(),
        [
            ("fj-1".to_owned(), "[1]".into()),
            ("fj-2".to_owned(), "{}".into())
        ]
    );
    lake.delete_job(app, "fj-2").await.unwrap();
    lake.delete_job(app, "fj-2").await.unwrap();
    assert_eq!(lake.jobs(app).await.unwrap().len(), 1);
}

async fn what_is_kept_beside_the_tables_is_there_once_and_whole(test: TestLake) {
    let mut files = kept_files(&test.scratch.path().join("kept"));
    let content = std::fs::read(&files[0].scratch).unwrap();
    for later in 0..2 {
        files[0].as_of = files[0]
            .as_of
            .map(|as_of| as_of + chrono::TimeDelta::days(later));
        let kept = test.lake.keep(&files).await.unwrap();
        let paths: Vec<_> = kept.iter().map(AsRef::as_ref).collect();
        assert_eq!(
            paths,
            [
                "_answerlake/strays/app_id=st-1/dt=2025-06-28/20250629T010000.000Z-ab12.ndjson.zst",
                "_answerlake/dead_letters/app_id=st-1/dt=2025-06-28/cd.ndjson.zst"
            ]
        );
    }
    let strays = test.lake.strays(key().app_id()).await.unwrap();
    let names: Vec<_> = strays[&key()].iter().collect();
    assert_eq!(names, ["20250629T010000.000Z-ab12.ndjson.zst"]);
    assert!(test.lake.read_strays(&key(), names[0]).await.unwrap() == content);
    let letters = paths(&test.lake, "_answerlake/dead_letters").await;
    assert_eq!(letters.len(), 1);
}

#[tokio::test]
async fn a_store_that_dies_keeps_a_file_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let files = kept_files(&folder.path().join("kept"));
    let content = std::fs::read(&files[0].scratch).unwrap();
    let mut outcomes = BTreeSet::new();
    for operations in 0..8 {
        let memory = Arc::new(object_store::memory::InMemory::new());
        let faulty = FaultyStore::new(memory.clone());
        faulty.operations_left.store(operations, SeqCst);
        let lake = |store| Lake::new(LakeStore::from_object_store("memory://", store));
        let kept = lake(Arc::new(faulty)).keep(&files[..1]).await;
        let lake = lake(memory);
        let strays = lake.strays(key().app_id()).await.unwrap();
        assert_eq!(kept.is_ok(), strays.len() == 1);
        for name in strays.values().flatten() {
            assert!(lake.read_strays(&key(), name).await.unwrap() == content);
        }
        outcomes.insert(kept.is_ok());
    }
    assert_eq!(outcomes.len(), 2, "it both died and went through");
}

/// A file that takes several parts to upload, to be kept as strays and as dead letters.
fn kept_files(scratch: &Path) -> [KeptFile; 2] {
    let content: Vec<u8> = (0..20_000_000_u32).map(|byte| (byte % 251) as u8).collect();
    std::fs::write(scratch, &content).unwrap();
    let file = |kind, name: &str| KeptFile {
        kind,
        key: key(),
        name: name.to_owned(),
        as_of: (kind == KeptKind::Strays).then(|| "2025-06-29T01:00:00Z".parse().unwrap()),
        scratch: scratch.to_owned(),
    };
    [
        file(KeptKind::Strays, "ab12.ndjson.zst"),
        file(KeptKind::DeadLetters, "cd.ndjson.zst"),
    ]
}
