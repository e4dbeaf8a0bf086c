//! What nobody needs any more is shown, and removed when asked to; what somebody may need stays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::recover::{age, unpublish};
use crate::support::{Program, Setup, setup};

fn vacuum(setup: &Setup) -> Program {
    setup
        .place
        .program("vacuum")
        .with("--lake", &setup.lake().url())
        .with("--output", "json")
}

/// Writes a file of the lake as if so many hours ago.
fn left(setup: &Setup, path: &str, hours: u64) -> String {
    let written = setup.place.write(&format!("lake/{path}"), "left");
    age(written.as_ref(), hours);
    path.to_owned()
}

/// The paths of what was removed, or kept, by kind; what is kept with the reason before it.
fn paths(found: &Value) -> BTreeMap<String, Vec<&str>> {
    let found = found.as_array().unwrap().iter();
    found
        .map(|found| {
            let kind = found["kind"].as_str().unwrap();
            let name = match found["because"].as_str() {
                Some(because) => format!("{because} {kind}"),
                None => kind.to_owned(),
            };
            let paths = found["paths"].as_array().unwrap();
            assert_eq!(found["count"], paths.len());
            assert!(!found["reason"].as_str().unwrap().is_empty());
            (
                name,
                paths.iter().map(|path| path.as_str().unwrap()).collect(),
            )
        })
        .collect()
}

/// Commits a second revision of the first day that drops its chunks and is published, and leaves those where they are, as
/// a publisher does that is late and is killed. Gives their paths.
fn drop_chunks(setup: &Setup) -> Vec<String> {
    let (partition, mut manifest) = setup.lake().newest().into_iter().next().unwrap();
    let files = manifest["files"].as_array_mut().unwrap();
    let (dropped, kept): (Vec<_>, Vec<_>) =
        files.drain(..).partition(|file| file["table"] == "chunks");
    let dropped: Vec<String> = dropped
        .iter()
        .map(|file| file["path"].as_str().unwrap().to_owned())
        .collect();
    assert!(!dropped.is_empty());
    manifest["files"] = json!(kept);
    manifest["dropped"] = json!(dropped);
    manifest["revision"] = json!(2);
    manifest["commit_id"] = json!("another");
    let folder = format!("lake/_answerlake/commits/{partition}");
    setup
        .place
        .write(&format!("{folder}/00000002.json"), manifest.to_string());
    setup
        .place
        .write(&format!("{folder}/00000002.published"), "");
    dropped
}

#[test]
fn what_nobody_needs_goes_and_what_somebody_may_need_stays() {
    let setup = setup("vacuum", |_| {});
    setup.run().result();
    let app = &setup.source.config().app_id;
    let staged = |run: &str, hours| {
        let folder = format!("_answerlake/staging/{run}/app_id={app}/dt=2025-06-23/c/queries");
        left(&setup, &format!("{folder}/part-00000-r1-ab.parquet"), hours)
    };
    let job = |name: &str, hours| {
        left(
            &setup,
            &format!("_answerlake/jobs/app_id={app}/{name}.json"),
            hours,
        )
    };
    let note = |day: &str, at: &str| {
        let note = json!({"at": at, "run_id": "run-0", "error": "no", "retryable": true});
        let path = format!("_answerlake/failures/app_id={app}/dt={day}.json");
        setup.place.write(&format!("lake/{path}"), note.to_string());
        path
    };
    let committed = setup.lake().newest().into_keys().next().unwrap();
    let (old_staged, young_staged) = (staged("run-old", 49), staged("run-young", 47));
    let foreign_staged = left(&setup, "_answerlake/staging/elsewhere", 500);
    let (old_job, young_job) = (job("old", 49), job("young", 47));
    let dropped = drop_chunks(&setup);
    let settled = note("2025-06-23", "2025-06-24T00:00:00Z");
    note("2025-06-24", "2999-01-01T00:00:00Z");
    note("2024-01-01", "2024-01-02T00:00:00Z");
    let cut = [
        left(
            &setup,
            &format!("queries/{committed}/part-00000-r2-ab.parquet#1"),
            49,
        ),
        left(
            &setup,
            &format!("_answerlake/commits/{committed}/00000003.json#12"),
            49,
        ),
    ];
    let young_cut = left(
        &setup,
        &format!("_answerlake/commits/{committed}/00000003.json#3"),
        1,
    );
    let foreign = [
        left(
            &setup,
            &format!("queries/{committed}/part-00000-r1-aaaaaaaaaaaa.parquet"),
            500,
        ),
        left(&setup, &format!("queries/{committed}/mine.parquet"), 500),
        left(&setup, "queries/app_id=nobody/x.parquet", 500),
    ];
    let empty = ["events/app_id=nobody/dt=2020-01-01", "events/app_id=nobody"];
    std::fs::create_dir_all(setup.lake().path(empty[0])).unwrap();
    for folder in empty.iter().copied().chain(["events"]) {
        age(&setup.lake().path(folder), 49);
    }
    let before = setup.lake().stamps();

    let shown = vacuum(&setup).ends(0).json();
    assert_eq!(setup.lake().stamps(), before, "it only shows");
    assert!(setup.lake().path(empty[0]).is_dir());
    let result = vacuum(&setup).arguments(&["--apply"]).ends(0).json();
    for (told, applied) in [(&shown, false), (&result, true)] {
        assert_eq!(
            (&told["status"], &told["applied"]),
            (&json!("ok"), &json!(applied))
        );
        let removed = paths(&told["removed"]);
        assert_eq!(removed["staged_file"], [&old_staged]);
        assert_eq!(removed["unlisted_file"], dropped);
        assert_eq!(removed["job_record"], [&old_job]);
        assert_eq!(removed["failure_note"], [&settled]);
        assert_eq!(removed["cut_write"].iter().collect::<Vec<_>>().len(), 2);
        assert!(
            cut.iter()
                .all(|cut| removed["cut_write"].contains(&cut.as_str()))
        );
        let folders = &removed["empty_folder"];
        assert!(
            empty.iter().all(|folder| folders.contains(folder)),
            "{folders:?}"
        );
        assert!(folders.contains(&"_answerlake/staging/run-old"));
        assert_eq!(removed.len(), 6, "{removed:?}");

        let kept = paths(&told["kept"]);
        assert_eq!(kept["young staged_file"], [&young_staged]);
        assert_eq!(kept["not_ours staged_file"], [&foreign_staged]);
        assert_eq!(kept["young job_record"], [&young_job]);
        assert_eq!(kept["young cut_write"], [&young_cut]);
        assert!(
            foreign
                .iter()
                .all(|path| kept["not_ours unlisted_file"].contains(&path.as_str()))
        );
        assert_eq!(kept.len(), 5, "{kept:?}");
    }

    let mut expected = before;
    let gone = [old_staged, old_job, settled];
    for path in dropped.iter().chain(&gone).chain(&cut) {
        assert!(expected.remove(path).is_some(), "{path}");
    }
    assert_eq!(setup.lake().stamps(), expected, "nothing else was touched");
    assert!(!setup.lake().path(empty[1]).exists());
    let again = vacuum(&setup).arguments(&["--apply"]).ends(0).json();
    assert_eq!(
        (&again["status"], &again["removed"]),
        (&json!("nothing_to_do"), &json!([]))
    );
}

#[test]
fn commits_are_finished_first_and_only_when_asked_to() {
    let setup = setup("vacuum-unfinished", |_| {});
    setup.run().result();
    let data = setup.lake().data_files();
    for staged in unpublish(&setup) {
        age(&staged, 1000);
    }
    let before = setup.lake().stamps();
    let text = vacuum(&setup).with("--output", "human").ends(0).stdout;
    assert!(
        text.contains("to finish ") && text.contains("vacuum --lake"),
        "{text}"
    );
    assert!(
        text.contains("an unpublished revision names them"),
        "{text}"
    );
    assert_eq!(setup.lake().stamps(), before);

    let other = vacuum(&setup)
        .with("--app-id", "st-another")
        .arguments(&["--apply"]);
    let other = other.ends(0).json();
    assert_eq!(
        (&other["rolled_forward"], &other["kept"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(setup.lake().stamps(), before);

    let result = vacuum(&setup).arguments(&["--apply"]).ends(0).json();
    assert_eq!(result["rolled_forward"].as_array().unwrap().len(), 1);
    assert_eq!(setup.lake().data_files(), data);
    setup.lake().assert_whole();
    let text = vacuum(&setup).with("--output", "human").ends(0).stdout;
    assert_eq!(text, "nothing to do\n");
}

#[test]
fn a_broken_revision_is_said_and_what_readers_still_have_stays() {
    let setup = setup("vacuum-broken", |_| {});
    setup.run().result();
    let staged = unpublish(&setup);
    std::fs::remove_file(&staged[0]).unwrap();
    let before = setup.lake().data_files();
    let result = vacuum(&setup).arguments(&["--apply"]).ends(3).json();
    assert_eq!(
        (&result["status"], &result["broken"][0]["revision"]),
        (&json!("partial"), &json!(1))
    );
    assert_eq!(setup.lake().data_files(), before);
    assert!(staged[1..].iter().all(|path| path.exists()));
}

#[test]
fn no_lake_is_made_to_clear_it() {
    let setup = setup("vacuum-nothing", |_| {});
    let result = vacuum(&setup).arguments(&["--apply"]).ends(0).json();
    assert_eq!(
        (&result["exists"], &result["status"]),
        (&json!(false), &json!("nothing_to_do"))
    );
    assert!(!setup.lake().path("").exists());
}
