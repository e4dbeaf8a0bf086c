//! What killed runs leave is finished, said or cleared.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::{Program, Setup, setup};

fn recover(setup: &Setup) -> Program {
    setup
        .place
        .program("recover")
        .with("--lake", &setup.lake().url())
        .with("--output", "json")
}

/// Puts the first committed day back to the moment after its commit: its files are staged again, and no marker says
/// that they are in place. Gives the staged files.
pub(super) fn unpublish(setup: &Setup) -> Vec<PathBuf> {
    let lake = setup.lake();
    let (partition, manifest) = lake.newest().into_iter().next().unwrap();
    let marker = format!("_answerlake/commits/{partition}/00000001.published");
    std::fs::remove_file(lake.path(&marker)).unwrap();
    let files = manifest["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let staged = lake.path(file["origin"]["staged"]["path"].as_str().unwrap());
            std::fs::create_dir_all(staged.parent().unwrap()).unwrap();
            std::fs::rename(lake.path(file["path"].as_str().unwrap()), &staged).unwrap();
            staged
        })
        .collect()
}

pub(super) fn age(path: &Path, hours: u64) {
    let then = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn an_unfinished_commit_is_finished() {
    let setup = setup("recover", |_| {});
    setup.run().result();
    let before = setup.lake().data_files();
    for staged in unpublish(&setup) {
        // However old: the commit needs them.
        age(&staged, 1000);
    }
    // Since long before a run at work would have come to it.
    let (partition, mut manifest) = setup.lake().newest().into_iter().next().unwrap();
    let two_hours_ago = chrono::Utc::now() - chrono::TimeDelta::hours(2);
    manifest["created_at"] = json!(two_hours_ago);
    let path = format!("lake/_answerlake/commits/{partition}/00000001.json");
    setup.place.write(&path, manifest.to_string());
    let shown = setup
        .place
        .program("status")
        .with("--lake", &setup.lake().url())
        .with("--output", "json");
    let listed = shown
        .with("--to", "2025-06-26")
        .arguments(&["--list", "--check"])
        .ends(3)
        .json();
    assert_eq!(
        listed["apps"][0]["partitions"][0]["published"], false,
        "{listed}"
    );
    let problem = &listed["problems"][0];
    assert_eq!(
        (&problem["kind"], &problem["command"]),
        (&json!("unpublished"), &json!("recover")),
        "{listed}"
    );

    let result = recover(&setup).ends(0).json();
    assert_eq!(result["status"], "ok", "{result}");
    assert_eq!(result["rolled_forward"].as_array().unwrap().len(), 1);
    assert_eq!(setup.lake().data_files(), before);
    setup.lake().assert_whole();
    let again = recover(&setup).with("--output", "human").ends(0);
    assert_eq!(again.stdout, "nothing to do\n");
}

#[test]
fn a_broken_revision_is_said_and_read_again() {
    let setup = setup("recover-broken", |_| {});
    setup.run().result();
    let staged = unpublish(&setup);
    std::fs::remove_file(&staged[0]).unwrap();

    let result = recover(&setup).ends(3).json();
    assert_eq!(
        (&result["status"], &result["broken"][0]["revision"]),
        (&json!("partial"), &json!(1)),
        "{result}"
    );
    assert_eq!(
        result["broken"][0]["arguments"],
        json!(["--date", "2025-06-23"])
    );
    let text = recover(&setup).with("--output", "human").ends(3).stdout;
    assert!(
        text.contains("revision 1: files of it are nowhere") && text.contains("--date 2025-06-23"),
        "{text}"
    );
    let status = || {
        setup
            .place
            .program("status")
            .with("--lake", &setup.lake().url())
            .with("--to", "2025-06-26")
    };
    let shown = status().arguments(&["--check"]).ends(3).stdout;
    assert!(
        shown.contains("2025-06                          B##\n"),
        "{shown}"
    );
    let planned = setup
        .place
        .program("plan")
        .with("--lake", &setup.lake().url())
        .with("--app-id", &setup.source.config().app_id)
        .with("--from", "2025-06-23")
        .with("--to", "2025-06-26")
        .with("--lookback", "0s")
        .ends(0)
        .stdout;
    assert!(
        planned.contains("1 window, 1 partition: broken"),
        "{planned}"
    );

    setup.run().result();
    recover(&setup).ends(0);
    status().arguments(&["--check"]).ends(0);
}

#[test]
fn staging_of_killed_runs_is_cleared_when_it_is_old() {
    let setup = setup("recover-staging", |_| {});
    let app = &setup.source.config().app_id;
    let left = |run: &str, hours: u64| {
        let folder = format!("lake/_answerlake/staging/{run}/app_id={app}/dt=2025-06-23/c/queries");
        let path = setup
            .place
            .write(&format!("{folder}/part-00000-r1-ab.parquet"), "left");
        age(Path::new(&path), hours);
        PathBuf::from(path)
    };
    let (old, young) = (left("run-old", 49), left("run-young", 47));
    // A run does it by the way.
    setup.run().result();
    assert!(!old.exists() && young.exists());
    assert!(
        !setup.lake().path("_answerlake/staging/run-old").exists(),
        "its folders stay"
    );
    age(&young, 49);
    let result = recover(&setup).ends(0).json();
    assert_eq!(
        result["staging"],
        json!({"files": 1, "bytes": 4, "kept": 0})
    );
    assert!(!setup.lake().path("_answerlake/staging").exists());
    setup.lake().assert_whole();
}

#[test]
fn one_app_is_recovered_and_the_other_left() {
    let setup = setup("recover-app", |_| {});
    setup.run().result();
    unpublish(&setup);
    let other = recover(&setup)
        .with("--app-id", "st-another")
        .ends(0)
        .json();
    assert_eq!(other["rolled_forward"], json!([]));
    let own = recover(&setup)
        .with("--app-id", &setup.source.config().app_id)
        .ends(0)
        .json();
    assert_eq!(own["rolled_forward"].as_array().unwrap().len(), 1);
}
