//! What a run would ask for, told without asking; and shared out among workers who do the same together.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Program, Setup, iso, setup};

fn plan(setup: &Setup) -> Program {
    let config = setup.source.config();
    setup
        .place
        .program("plan")
        .with("--app-id", &config.app_id)
        .with("--from", &iso(config.data.from))
        .with("--to", &iso(config.data.to))
        .with("--lookback", "0s")
        .with("--lake", &setup.lake().url())
}

fn entries(program: &Program) -> Vec<Value> {
    let outcome = program.clone().with("--output", "json").ends(0);
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    outcome.json().as_array().unwrap().clone()
}

#[test]
fn a_plan_asks_nobody_and_writes_nothing() {
    let setup = setup("plan-quiet", |_| {});
    let before = plan(&setup).ends(0);
    assert!(
        before
            .stdout
            .contains("3 windows, 3 partitions: 3 uncommitted"),
        "{}",
        before.stdout
    );
    assert!(before.stdout.contains("2025-06-23"), "{}", before.stdout);
    assert!(
        before.stdout.contains('?'),
        "nothing is known of the times: {}",
        before.stdout
    );
    assert!(!setup.lake().path("").exists(), "a lake was made");

    setup.run().result();
    let stamps = setup.lake().stamps();
    let requests = setup.source.emulator().requests().len();
    let done = plan(&setup).ends(0);
    assert!(done.stdout.contains("nothing to do"), "{}", done.stdout);
    let forced = plan(&setup).arguments(&["--force"]).ends(0);
    assert!(forced.stdout.contains("3 forced"), "{}", forced.stdout);
    assert_eq!(entries(&plan(&setup)), Vec::<Value>::new());
    assert_eq!(
        plan(&setup).with("--skip-exit-code", "99").ends(99).stdout,
        done.stdout
    );
    assert_eq!(setup.source.emulator().requests().len(), requests);
    assert_eq!(setup.lake().stamps(), stamps);
    setup.place.assert_scratch_is_empty();
}

#[test]
fn a_plan_is_refused_as_its_run_would_be() {
    let setup = setup("plan-refused", |_| {});
    setup.run().result();
    let failure = plan(&setup)
        .with("--grain", "hour")
        .with("--output", "json")
        .fails(2);
    assert!(
        failure
            .error
            .contains("`grain`: lake has `day`, run asks `hour`"),
        "{}",
        failure.error
    );
    let text = plan(&setup).with("--grain", "hour").ends(2);
    assert!(text.stdout.is_empty(), "{}", text.stdout);
    assert!(text.stderr.contains("error: lake"), "{}", text.stderr);
    let app = plan(&setup).without("--app-id").ends(2);
    assert!(
        app.stderr.contains("`source.app_id` is missing"),
        "{}",
        app.stderr
    );
    plan(&setup).with("--workers", "0").ends(2);
}

#[test]
fn what_works_on_the_lake_alone_needs_no_credentials() {
    let setup = setup("plan-credentials", |_| {});
    let fragment = setup.place.write(
        "fragment.json",
        serde_json::to_string(&setup.source.records()).unwrap(),
    );
    let app_id = &setup.source.config().app_id;
    for (command, settings) in [
        ("plan", &[("--date", "2025-06-23")][..]),
        ("ingest", &[("--output", "json")][..]),
        ("status", &[][..]),
        ("recover", &[][..]),
    ] {
        let mut program = setup
            .place
            .program(command)
            .with("--host", "https://platform.kore.ai")
            .with("--app-id", app_id)
            .with("--lake", &setup.lake().url());
        for (flag, value) in settings {
            program = program.with(flag, value);
        }
        if command == "ingest" {
            program = program.arguments(&[&fragment]);
        }
        program.ends(0);
    }
    assert_eq!(setup.lake().days().len(), 3);
    // A mistake that needs no secret to be seen is one everywhere.
    let file = setup.place.write(
        "two.toml",
        "[auth]\ntoken_file = \"a\"\nclient_secret_file = \"b\"\n",
    );
    let program = plan(&setup).arguments(&[&file]).ends(2);
    assert!(program.stderr.contains("two ways"), "{}", program.stderr);
}

#[test]
fn past_exports_tell_how_long_the_next_takes() {
    let setup = setup("plan-predicts", |config| {
        config.job_time_base = std::time::Duration::from_millis(700);
    });
    let next = |force: bool| {
        let program = plan(&setup).with("--to", "2025-06-28");
        let program = if force {
            program.arguments(&["--force"])
        } else {
            program
        };
        entries(&program)
    };
    assert!(
        next(false)
            .iter()
            .all(|entry| entry["predicted_seconds"].is_null())
    );
    setup.run().result();
    for manifest in setup.lake().newest().values() {
        assert!(
            manifest["jobs"][0]["export_millis"].as_u64().unwrap() >= 700,
            "{manifest}"
        );
    }
    // The same days again, and days that nobody has seen.
    assert_eq!((next(true).len(), next(false).len()), (5, 2));
    for entry in next(true).iter().chain(&next(false)) {
        let predicted = entry["predicted_seconds"].as_f64().unwrap();
        assert!((0.7..60.0).contains(&predicted), "{entry}");
    }
    let text = plan(&setup).with("--to", "2025-06-28").ends(0).stdout;
    assert!(text.contains("job minutes"), "{text}");
}

#[test]
fn nothing_wraps_at_eighty_columns() {
    let setup = setup("plan-narrow", |_| {});
    let narrow = |program: &Program| {
        for line in program.ends(0).stdout.lines() {
            assert!(line.chars().count() < 80, "{line}");
        }
    };
    let hours = plan(&setup).with("--grain", "hour").with("--window", "5h");
    narrow(&hours);
    setup
        .run()
        .with("--settle", "50y")
        .with("--to", "2025-06-25")
        .result();
    narrow(
        &plan(&setup)
            .with("--window", "6d")
            .with("--to", "2999-01-01")
            .with("--from", "2990-01-01"),
    );
    narrow(&plan(&setup).with("--window", "6d").with("--settle", "50y"));
}

/// Each entry by a process of its own, all at once: the lake of an undisturbed run.
#[test]
fn the_entries_of_a_plan_do_what_the_run_would_have_done() {
    let days = |config: &mut answerlake_emulator::EmulatorConfig| {
        config.data.to = config.data.from + chrono::TimeDelta::days(8);
    };
    let (whole, shared) = (setup("plan-whole", days), setup("plan-shared", days));
    for (flags, settings) in [
        (&[][..], &[("--to", "2025-06-26"), ("--settle", "50y")][..]),
        (
            &[][..],
            &[
                ("--from", "2025-06-27"),
                ("--to", "2025-06-28"),
                ("--window", "2d"),
            ][..],
        ),
        // A lookback with provisional days, a gap before it, settled and missing days, by force.
        (
            &["--force"][..],
            &[
                ("--from", "2025-06-27"),
                ("--to", "2025-06-30"),
                ("--lookback", "3d"),
                ("--window", "2d"),
            ][..],
        ),
        (&[][..], &[("--window", "3d")][..]),
    ] {
        let told = |mut program: Program| {
            for (flag, value) in settings {
                program = program.with(flag, value);
            }
            program
        };
        told(whole.run()).arguments(flags).ends(0);
        let work = entries(&told(plan(&shared)).arguments(flags).with("--workers", "3"));
        let workers: Vec<_> = work
            .iter()
            .map(|entry| {
                let arguments: Vec<&str> = entry["arguments"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|word| word.as_str().unwrap())
                    .collect();
                // What the entry says replaces what the settings said.
                let mut program = told(shared.run());
                for flag in arguments.iter().filter(|word| word.starts_with("--")) {
                    if !["--force", "--include-open"].contains(flag) {
                        program = program.without(flag);
                    }
                }
                let mut command = program.arguments(&arguments).command();
                command
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        let mut done = 0;
        for (worker, entry) in workers.into_iter().zip(&work) {
            let outcome = crate::support::Outcome::from(worker.wait_with_output().unwrap());
            assert_eq!(outcome.code, Some(0), "{entry} {}", outcome.stderr);
            let result = outcome.json();
            let read: Vec<_> = result["partitions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["dt"].clone())
                .collect();
            assert_eq!(
                json!(read),
                entry["partitions"],
                "just what the entry says is read"
            );
            done += read.len();
        }
        assert!(done > 0, "{flags:?} {settings:?}");
        shared.lake().assert_whole();
        assert_eq!(shared.lake().data_files(), whole.lake().data_files());
        let facts = |setup: &Setup| -> BTreeMap<String, Vec<Value>> {
            let manifests = setup.lake().manifests().into_iter();
            let fact = |manifest: &Value| {
                let (job, window) = (&manifest["jobs"][0], &manifest["jobs"][0]["window"]);
                json!([
                    manifest["revision"],
                    manifest["content_digest"],
                    manifest["provisional"],
                    window,
                    job["decoded"]
                ])
            };
            manifests
                .map(|(partition, revisions)| (partition, revisions.iter().map(fact).collect()))
                .collect()
        };
        assert_eq!(facts(&shared), facts(&whole), "{flags:?} {settings:?}");
        assert_eq!(
            shared.source.emulator().jobs_started(),
            whole.source.emulator().jobs_started()
        );
    }
    assert_eq!(shared.lake().days().len(), 8);
}
