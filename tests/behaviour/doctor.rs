//! `doctor`: each thing that can be wrong is told by itself, with what to do, and nothing is left behind.

use std::collections::BTreeMap;

use answerlake_emulator::{Fault, FaultKind, On};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::{Program, Setup, closed_port, setup};

fn doctor(setup: &Setup) -> Program {
    let run = setup.place.run(&setup.source);
    let program = run.instead_of_run("doctor");
    program.without("--from").without("--to")
}

fn always(on: On, kind: FaultKind) -> Vec<Fault> {
    vec![Fault {
        times: u32::MAX,
        ..Fault::new(on, kind)
    }]
}

/// Runs it; gives the state of each check, and the whole.
#[track_caller]
fn states(program: &Program, exit: i32) -> (BTreeMap<String, String>, Value) {
    let report = program.ends(exit).json();
    let status = if exit == 0 { "ok" } else { "problems" };
    assert_eq!(report["status"], status, "{report}");
    let text = report.to_string();
    assert!(
        !text.contains("eyJ") && !text.contains("emulated-client-secret"),
        "{text}"
    );
    let checks = report["checks"].as_array().unwrap().iter();
    let states = checks.map(|check| {
        let word = |key: &str| check[key].as_str().unwrap().to_owned();
        let is_told = ["ok", "skipped"].contains(&check["state"].as_str().unwrap());
        assert!(
            is_told || check["hint"].is_string(),
            "nothing to do: {check}"
        );
        (word("check"), word("state"))
    });
    (states.collect(), report)
}

#[track_caller]
fn assert_states(program: &Program, exit: i32, expected: &[(&str, &str)]) -> Value {
    let (states, report) = states(program, exit);
    let mut all: BTreeMap<String, String> = [
        "token", "source", "clock", "export", "job", "lake", "scratch", "room",
    ]
    .map(|check| (check.to_owned(), "ok".to_owned()))
    .into();
    // How full the disk of the tests is, is not theirs.
    all.insert("room".to_owned(), states["room"].clone());
    for (check, state) in expected {
        all.insert((*check).to_owned(), (*state).to_owned());
    }
    assert_eq!(states, all, "{report}");
    report
}

fn message(report: &Value, check: &str) -> String {
    let checks = report["checks"].as_array().unwrap().iter();
    let found = checks.filter(|one| one["check"] == check);
    found
        .map(|one| format!("{} {}", one["message"], one["hint"]))
        .collect()
}

#[test]
fn all_is_well_and_nothing_is_left() {
    let setup = setup("doctor", |_| {});
    let report = assert_states(&doctor(&setup), 0, &[]);
    assert!(message(&report, "job").contains("0 records"), "{report}");
    assert_eq!(setup.source.emulator().jobs_started(), 1);
    assert!(!setup.lake().path("").exists(), "the lake was not made");
    setup.place.assert_scratch_is_empty();

    let human = doctor(&setup).with("--output", "human").ends(0).stdout;
    let begins: Vec<&str> = human
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(
        begins[..7],
        [
            "token", "source", "clock", "export", "job", "lake", "scratch"
        ],
        "{human}"
    );

    setup.run().result();
    let stamps = setup.lake().stamps();
    let report = assert_states(&doctor(&setup), 0, &[]);
    assert!(
        message(&report, "lake").contains("fits these settings"),
        "{report}"
    );
    assert_eq!(setup.lake().stamps(), stamps);
    let report = assert_states(
        &doctor(&setup).with("--grain", "hour"),
        2,
        &[("lake", "failed")],
    );
    assert!(message(&report, "lake").contains("grain"), "{report}");
}

#[test]
fn each_refusal_of_the_source_is_told_by_its_scope() {
    let scope = r#"{"errors":[{"msg":"Permission denied. Scope is incorrect!","code":4002}]}"#;
    let refused = || FaultKind::Status(401, scope.to_owned());
    let without_exports = setup("doctor-exports", |config| {
        config.faults = always(On::Export, refused());
    });
    let report = assert_states(
        &doctor(&without_exports),
        4,
        &[("export", "failed"), ("job", "skipped")],
    );
    assert!(
        message(&report, "export").contains("Answer Insights"),
        "{report}"
    );

    let without_jobs = setup("doctor-jobs", |config| {
        config.faults = always(On::Job, refused());
    });
    let report = assert_states(&doctor(&without_jobs), 4, &[("job", "failed")]);
    assert!(
        message(&report, "job").contains("Answer Generation"),
        "{report}"
    );

    let setup = setup("doctor-secret", |_| {});
    for program in [
        doctor(&setup).environment("ANSWERLAKE_CLIENT_SECRET", "another"),
        doctor(&setup).with("--app-id", "st-another"),
    ] {
        let report = assert_states(&program, 4, &[("export", "failed"), ("job", "skipped")]);
        assert!(message(&report, "export").contains("app id"), "{report}");
    }
}

#[test]
fn clocks_that_differ_are_told_before_they_are_looked_for() {
    let skewed = |seconds| {
        setup("doctor-clock", |config| {
            config.faults = always(On::Any, FaultKind::ClockSkew { seconds });
        })
    };
    for seconds in [90, -90] {
        let report = assert_states(&doctor(&skewed(seconds)), 0, &[("clock", "warning")]);
        let told = message(&report, "clock");
        let side = if seconds > 0 { "ahead of" } else { "behind" };
        assert!(
            told.contains(side) && (told.contains("90 s") || told.contains("89 s")),
            "{told}"
        );
    }
    let failed = [
        ("clock", "failed"),
        ("export", "failed"),
        ("job", "skipped"),
    ];
    assert_states(&doctor(&skewed(7_200)), 4, &failed);
}

#[test]
fn ready_tokens_tell_when_they_end() {
    let setup = setup("doctor-token", |_| {});
    let token = |claims: Value| {
        let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!(
            "{}.{}.c2lnbmF0dXJl",
            part(json!({"alg": "HS256"})),
            part(claims)
        )
    };
    let report = assert_states(
        &doctor(&setup).with_token(&setup.source.emulator().token()),
        0,
        &[],
    );
    assert!(
        message(&report, "token").contains("valid until 203"),
        "{report}"
    );
    let ended = doctor(&setup).with_token(&token(json!({"exp": 1_700_000_000})));
    let refused = [
        ("token", "failed"),
        ("export", "failed"),
        ("job", "skipped"),
    ];
    let report = assert_states(&ended, 4, &refused);
    assert!(message(&report, "token").contains("2023-11-14"), "{report}");
    let soon = chrono::Utc::now().timestamp() + 3_600;
    let soon = doctor(&setup).with_token(&token(json!({"exp": soon})));
    assert_states(
        &soon,
        4,
        &[
            ("token", "warning"),
            ("export", "failed"),
            ("job", "skipped"),
        ],
    );
    let none = [
        ("token", "failed"),
        ("source", "skipped"),
        ("clock", "skipped"),
        ("export", "skipped"),
        ("job", "skipped"),
    ];
    let without = doctor(&setup)
        .without_environment("ANSWERLAKE_CLIENT_ID")
        .without_environment("ANSWERLAKE_CLIENT_SECRET");
    let program = without.with("--token-file", "/nonexistent");
    assert_states(&program, 2, &none);
}

#[test]
fn a_source_that_is_not_there_or_fails_leaves_the_rest_to_be_checked() {
    let silent = [
        ("source", "failed"),
        ("clock", "skipped"),
        ("export", "skipped"),
        ("job", "skipped"),
    ];
    let here = setup("doctor-source", |_| {});
    let closed = format!("http://127.0.0.1:{}", closed_port());
    assert_states(&doctor(&here).with("--host", &closed), 5, &silent);
    let failed = setup("doctor-failed", |config| {
        config.faults = always(On::Export, FaultKind::JobFailed("FAILED".to_owned()));
    });
    let report = assert_states(&doctor(&failed), 5, &[("job", "failed")]);
    assert!(message(&report, "job").contains("FAILED"), "{report}");
}

#[test]
fn a_lake_or_scratch_that_cannot_be_written_is_told() {
    let setup = setup("doctor-lake", |_| {});
    let file = setup.place.write("file", "");
    let below = format!("{file}/lake");
    let (states, report) = states(&doctor(&setup).with("--lake", &below), 6);
    assert_eq!(
        (&*states["lake"], &*states["job"]),
        ("failed", "ok"),
        "{report}"
    );
    let program = doctor(&setup).with("--scratch", "/nonexistent/scratch");
    let (states, report) = self::states(&program, 2);
    assert_eq!(
        (&*states["scratch"], &*states["lake"]),
        ("failed", "ok"),
        "{report}"
    );
}
