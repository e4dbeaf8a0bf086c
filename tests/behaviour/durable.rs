//! What a commit says is on the disk is there when it says so, whenever the power is cut: seen by the system calls of a
//! run, in their order.

use std::process::{Command, Stdio};

use crate::support::setup;

/// The system calls of a run that make names and make them last, in their order, with paths relative to the lake.
struct Trace(Vec<String>);

impl Trace {
    /// Where calls begin that name all of `parts`.
    fn all(&self, parts: &[&str]) -> Vec<usize> {
        let calls = self.0.iter().enumerate();
        calls
            .filter(|(_, call)| parts.iter().all(|part| call.contains(part)))
            .map(|(at, _)| at)
            .collect()
    }

    #[track_caller]
    fn one(&self, parts: &[&str]) -> usize {
        let found = self.all(parts);
        assert_eq!(found.len(), 1, "{parts:?}");
        found[0]
    }

    /// That between two calls there is one that names all of `parts`.
    #[track_caller]
    fn assert_between(&self, from: usize, to: usize, parts: &[&str]) {
        let found = self.all(parts);
        assert!(
            found.iter().any(|at| from < *at && *at < to),
            "{parts:?} at {found:?}, expected between {from} and {to}"
        );
    }
}

#[expect(clippy::print_stdout, reason = "a skip is said")]
fn can_trace() -> bool {
    let traced = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: no strace, or it may not trace here");
    }
    can
}

#[test]
fn files_and_folders_are_synced_before_what_says_that_they_are_there() {
    if !can_trace() {
        return;
    }
    let setup = setup("durable", |_| {});
    let program = setup
        .run()
        .with("--date", "2025-06-23")
        .without("--from")
        .without("--to");
    // Scratch beside the lake, so that files are linked.
    let program = program.with("--scratch", setup.place.path("scratch").to_str().unwrap());
    std::fs::create_dir_all(setup.place.path("scratch")).unwrap();
    let log = setup.place.path("trace");
    let command = program.command();
    let traced = Command::new("strace")
        .args(["-f", "-y", "-o", log.to_str().unwrap()])
        .arg("--trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,copy_file_range,sendfile")
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap())
        .output()
        .unwrap();
    assert!(traced.status.success(), "{traced:?}");
    setup.lake().assert_whole();

    let root = format!(
        "{}/",
        setup
            .lake()
            .path("")
            .to_str()
            .unwrap()
            .trim_end_matches('/')
    );
    let text = std::fs::read_to_string(&log).unwrap();
    let calls = text.lines().filter(|line| !line.contains(" resumed>"));
    let trace = Trace(calls.map(|line| line.replace(&root, "")).collect());
    let manifest = setup.lake().newest().into_values().next().unwrap();
    let partition = manifest["partition"].as_str().unwrap();
    let commits = format!("_answerlake/commits/{partition}");
    let created = trace.one(&["link", &format!("{commits}/00000001.json\"")]);
    let published = trace.one(&["link", &format!("{commits}/00000001.published\"")]);
    let files = manifest["files"].as_array().unwrap();
    assert!(files.len() > 3);

    // Content and names of what is staged, then the manifest's own.
    let synced = trace.all(&["fsync", "/data-", ".parquet"]);
    let before = synced.iter().filter(|at| **at < created);
    assert_eq!(before.count(), files.len());
    trace.assert_between(0, created, &["fsync", &format!("{commits}/00000001.json#")]);
    for file in files {
        let staged = file["origin"]["staged"]["path"].as_str().unwrap();
        let linked = trace.one(&["link", "/data-", &format!("{staged}\"")]);
        let folder = staged.rsplit_once('/').unwrap().0;
        trace.assert_between(linked, created, &["fsync", &format!("{folder}>")]);

        // It is moved, not copied, once the commit is on the disk, and before the marker the move is.
        let path = file["path"].as_str().unwrap();
        // The first try finds no folder to move it to.
        let moves = trace.all(&["rename", &format!("{staged}\""), &format!("{path}\"")]);
        let moved = *moves.last().unwrap();
        trace.assert_between(created, moved, &["fsync", &format!("{commits}>")]);
        let folder = path.rsplit_once('/').unwrap().0;
        trace.assert_between(moved, published, &["fsync", &format!("{folder}>")]);
        let table = path.split_once('/').unwrap().0;
        trace.assert_between(moved, published, &["fsync", &format!("{table}>")]);
    }
    trace.assert_between(published, usize::MAX, &["fsync", &format!("{commits}>")]);
    assert_eq!(trace.all(&["copy_file_range"]), [0_usize; 0]);
    assert_eq!(trace.all(&["sendfile"]), [0_usize; 0]);
}
