//! Disks that are full or may not be written to: said which, nothing half-committed, and a rerun with room completes.
//!
//! The disks are the tests' own, mounted where nobody else sees them; root is bound by them as anybody is.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Lake, Outcome, Program, files_below, setup, truth};

/// Mounts a disk of `$SIZE` on `$DISK`, runs the command, keeps what is on the disk then as `$KEEP/full`, makes the disk
/// large, runs the command again, and keeps what is on it then as `$KEEP/large`.
const FULL_THEN_LARGE: &str = r#"
    set -e
    mount -t tmpfs -o "size=$SIZE" tmpfs "$DISK"
    for state in full large; do
        set +e
        "$@" > "$KEEP/$state.out" 2> "$KEEP/$state.err"
        echo $? > "$KEEP/$state.code"
        set -e
        cp -a "$DISK" "$KEEP/$state"
        mount -o remount,size=64m "$DISK"
    done
"#;

/// Makes `$DISK` read-only and runs the command.
const READ_ONLY: &str = r#"
    mount --bind "$DISK" "$DISK" && mount -o remount,bind,ro "$DISK" && exec "$@"
"#;

/// The command of a shell script that may mount, with the program as its arguments.
fn with_mounts(script: &str, program: &Program) -> Command {
    let program = program.command();
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(program.get_current_dir().unwrap());
    command
}

/// Whether tests may mount here; where not, says that the test is skipped.
#[expect(clippy::print_stdout, reason = "a skip is said")]
fn can_mount() -> bool {
    let status = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user"])
        .args(["sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let can = status.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: a user may not mount a disk here");
    }
    can
}

/// Runs `program` while `disk` has `size`, and again when it is large; `keep` then has what was on it.
fn full_then_large(program: &Program, disk: &Path, size: &str, keep: &Path) -> [Outcome; 2] {
    for folder in [disk, keep] {
        std::fs::create_dir_all(folder).unwrap();
    }
    let status = with_mounts(FULL_THEN_LARGE, program)
        .env("DISK", disk)
        .env("SIZE", size)
        .env("KEEP", keep)
        .status()
        .unwrap();
    assert!(status.success());
    ["full", "large"].map(|state| {
        let read =
            |ending: &str| std::fs::read_to_string(keep.join(format!("{state}.{ending}"))).unwrap();
        Outcome {
            code: read("code").trim().parse().ok(),
            stdout: read("out"),
            stderr: read("err"),
        }
    })
}

#[test]
fn a_full_disk_of_the_lake_is_said_and_a_rerun_with_room_completes() {
    if !can_mount() {
        return;
    }
    // Room for none of the days, and for some.
    for (size, codes) in [("24k", [6].as_slice()), ("140k", &[3, 6])] {
        let setup = setup("full-lake", |_| {});
        let (disk, keep) = (setup.place.path("disk"), setup.place.path("keep"));
        let program = setup
            .run()
            .with("--jobs-concurrency", "1")
            .into_lake(&setup.place.lake_named("disk/lake"));
        let [full, large] = full_then_large(&program, &disk, size, &keep);

        let failure = full.failure();
        assert!(codes.contains(&full.code.unwrap()), "{full:?}");
        failure.assert_says(&[
            "No space left on device",
            "the disk of the lake is full",
            "make room",
        ]);
        assert!(failure.retryable);
        setup.place.assert_scratch_is_empty();
        let lake = |state: &str| Lake::new(keep.join(state).join("lake"));
        lake("full").assert_sound();
        let staged = lake("full").files_below("_answerlake/staging/");
        assert!(
            staged.is_empty(),
            "it takes the room of the next run: {staged:?}"
        );

        assert_eq!(large.code, Some(0), "{large:?}");
        lake("large").assert_whole();
        truth::assert_holds(&lake("large"), &setup.source.records());
    }
}

#[test]
fn a_full_disk_of_scratch_is_said_and_a_rerun_with_room_completes() {
    if !can_mount() {
        return;
    }
    // Room for no download, and for downloads but not for what becomes of them.
    for size in ["24k", "1200k"] {
        let setup = setup("full-scratch", |config| config.data.text_scale = 0.1);
        let (disk, keep) = (setup.place.path("disk"), setup.place.path("keep"));
        let program = setup
            .run()
            .with("--jobs-concurrency", "1")
            .with("--scratch", disk.to_str().unwrap());
        let [full, large] = full_then_large(&program, &disk, size, &keep);

        let failure = full.failure();
        assert_eq!(full.code, Some(1), "{full:?}");
        failure.assert_says(&[
            "No space left on device",
            "the disk of scratch is full",
            "--scratch",
        ]);
        assert!(failure.retryable);

        assert_eq!(large.code, Some(0), "{large:?}");
        setup.lake().assert_whole();
        truth::assert_holds(&setup.lake(), &setup.source.records());
        for state in ["full", "large"] {
            let left = files_below(&keep.join(state));
            assert!(left.is_empty(), "{left:?}");
        }
    }
}

#[test]
fn a_lake_that_may_not_be_written_is_said() {
    if !can_mount() {
        return;
    }
    let setup = setup("read-only", |_| {});
    let read_only = |program: &Program| {
        let output = with_mounts(READ_ONLY, program)
            .env("DISK", setup.lake().path(""))
            .output();
        Outcome::from(output.unwrap())
    };
    std::fs::create_dir(setup.lake().path("")).unwrap();
    let check = |outcome: &Outcome| {
        assert_eq!(outcome.code, Some(6), "{outcome:?}");
        let failure = outcome.failure();
        failure.assert_says(&["Read-only file system", "--lake"]);
        assert!(!failure.retryable);
    };
    check(&read_only(&setup.run()));
    assert_eq!(setup.source.emulator().jobs_started(), 0);
    assert!(setup.lake().files().is_empty());

    setup.run().result();
    let before = setup.lake().stamps();
    check(&read_only(&setup.run().arguments(&["--force"])));
    assert_eq!(setup.lake().stamps(), before);
    setup.place.assert_scratch_is_empty();
}

#[test]
fn a_table_may_lie_on_another_disk() {
    use std::os::unix::fs::MetadataExt;

    let setup = setup("two-disks", |_| {});
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
        println!("skipped: there is no other disk here");
        return;
    };
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(other.path()) == device(&setup.place.path("")) {
        println!("skipped: there is one disk here");
        return;
    }
    std::fs::create_dir(setup.lake().path("")).unwrap();
    std::os::unix::fs::symlink(other.path(), setup.lake().path("chunks")).unwrap();
    setup.run().result();
    assert!(!files_below(other.path()).is_empty());
    let is_link = |path: &Path| path.symlink_metadata().unwrap().is_symlink();
    assert!(is_link(&setup.lake().path("chunks")));
    let left = setup.lake().files_below("_answerlake/staging/");
    assert!(left.is_empty(), "{left:?}");
    // The tests' own look at the lake does not follow links.
    std::fs::remove_file(setup.lake().path("chunks")).unwrap();
    std::fs::create_dir(setup.lake().path("chunks")).unwrap();
    for file in files_below(other.path()) {
        let to = setup.lake().path(&format!("chunks/{file}"));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(other.path().join(&file), to).unwrap();
    }
    setup.lake().assert_whole();
    truth::assert_holds(&setup.lake(), &setup.source.records());
}
